/* SPDX-License-Identifier: GPL-2.0-only */
/* What the other files here write in x86-64's instructions. */
.macro function name
    .type \name, %function
\name:
.endm
.macro endfunc name
    ret
    .size \name, . - \name
.endm
.macro call_to name
    call "\name"
.endm
/* With nothing behind it: its field is 0 in the file, the distance to the next instruction. */
.macro last_call name
    call "\name"
.endm
.macro call_near name
    call \name
.endm
/* Relative, with a value behind it, and absolute. */
.macro refer_to name
    leaq "\name"(%rip), %rax
    movl $1, "\name"(%rip)
    movq $"\name", %rbx
.endm
/* Once, and where there is no symbol by the section. */
.macro point_to name
    leaq \name(%rip), %rax
.endm
.macro pointer name, addend=0
    .8byte "\name" + \addend
.endm
.macro number value
    .8byte \value
.endm
/* Bytes that are not zero before they are relocated (R8). */
.macro dirty name
    .reloc ., R_X86_64_64, "\name"
    .8byte 0x1122334455667788
.endm
