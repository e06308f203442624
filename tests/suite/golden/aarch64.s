/* SPDX-License-Identifier: GPL-2.0-only */
/* What the other files here write in aarch64's instructions. */
.macro function name
    .type \name, %function
\name:
.endm
.macro endfunc name
    ret
    .size \name, . - \name
.endm
.macro call_to name
    bl "\name"
.endm
/* With nothing behind it, and the distance to the next instruction in its field. */
.macro last_call name
    .reloc ., R_AARCH64_CALL26, "\name"
    .inst 0x94000001
.endm
.macro call_near name
    bl \name
.endm
.macro refer_to name
    adrp x0, "\name"
    add x0, x0, :lo12:"\name"
.endm
/* Once, and where there is no symbol by the section. */
.macro point_to name
    refer_to \name
.endm
.macro pointer name, addend=0
    .8byte "\name" + \addend
.endm
.macro number value
    .8byte \value
.endm
.macro dirty name
    .8byte "\name"
.endm
