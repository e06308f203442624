/* SPDX-License-Identifier: GPL-2.0-only */
/* What the other files here write in ppc64le's instructions. */
.abiversion 2
.macro function name
    .type \name, %function
\name:
0:  addis 2, 12, .TOC. - 0b@ha
    addi 2, 2, .TOC. - 0b@l
    .localentry \name, . - \name
.endm
.macro endfunc name
    blr
    .size \name, . - \name
.endm
/* The nop is for the reload of the TOC. */
.macro call_to name
    bl "\name"
    nop
.endm
/* With nothing behind it, and the distance to the next instruction in its field. */
.macro last_call name
    .reloc ., R_PPC64_REL24, "\name"
    .long 0x48000005
.endm
.macro call_near name
    bl \name
.endm
.macro refer_to name
    .pushsection .toc, "aw"
1:  .8byte "\name"
    .popsection
    addis 9, 2, 1b@toc@ha
    ld 9, 1b@toc@l(9)
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
