/* SPDX-License-Identifier: GPL-2.0-only */
/* What the other files here write in the instructions of 32-bit PowerPC. */
.macro function name
    .type \name, %function
\name:
.endm
.macro endfunc name
    blr
    .size \name, . - \name
.endm
.macro call_to name
    bl "\name"
.endm
/* With nothing behind it, and the distance to the next instruction in its field. */
.macro last_call name
    .reloc ., R_PPC_REL24, "\name"
    .long 0x48000005
.endm
.macro call_near name
    bl \name
.endm
.macro refer_to name
    lis 3, "\name"@ha
    addi 3, 3, "\name"@l
.endm
/* Once, and where there is no symbol by the section. */
.macro point_to name
    refer_to \name
.endm
.macro pointer name, addend=0
    .4byte "\name" + \addend
.endm
.macro number value
    .4byte \value
.endm
.macro dirty name
    .4byte "\name"
.endm
