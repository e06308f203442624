/* SPDX-License-Identifier: GPL-2.0-only */
/* What the other files here write in s390x's instructions. */
.macro function name
    .type \name, %function
\name:
.endm
.macro endfunc name
    br %r14
    .size \name, . - \name
.endm
.macro call_to name
    brasl %r14, "\name"@PLT
.endm
/* With nothing behind it, and the distance to the next instruction in its field. */
.macro last_call name
    .byte 0xc0, 0xe5
    .reloc ., R_390_PLT32DBL, "\name" + 2
    .long 3
.endm
.macro call_near name
    brasl %r14, \name
.endm
.macro refer_to name
    larl %r1, "\name"
    lgrl %r1, "\name"@GOTENT
.endm
/* Once, and where there is no symbol by the section. */
.macro point_to name
    larl %r1, \name
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
