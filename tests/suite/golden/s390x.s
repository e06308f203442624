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
