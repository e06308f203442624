/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Says which symbol a livepatch means where a name alone does not tell. For any
 * kernel that has livepatching; needs nothing of the kernel's own headers.
 * Printed by `klpbuild header`; read by `klpbuild modules` and `klpbuild convert`.
 */
#ifndef KLP_RELOCS_H
#define KLP_RELOCS_H

/*
 * Is defined nowhere: what is declared as one can be named below, and its address
 * be taken, whatever it is.
 */
struct klp_any;

/*
 * The symbols named in such an array are those of one object: vmlinux, or a
 * module by the name that lsmod shows.
 *
 *	extern int some_static;
 *	static KLP_MODULE_RELOC(vmlinux) some_static_reloc[] = {
 *		KLP_SYMPOS(some_static, 2),
 *	};
 *
 * The position counts the symbols of this name in the object, from 1, as the
 * kernel does (`klpbuild lookup some_static` prints it); 0 says that there is
 * only one.
 */
#ifndef KLP_MODULE_RELOC
struct klp_module_reloc {
	const void *sym;
	unsigned int sympos;
} __attribute__((__packed__));

/*
 * An array that is large enough, the compiler would align for speed: between two
 * of one object there would be bytes that are no records.
 */
#define KLP_MODULE_RELOC(object) \
	const struct klp_module_reloc \
	__attribute__((__used__, __aligned__(4), __section__(".klp.module_relocs." #object)))

#define KLP_SYMPOS(symbol, position) \
	{ .sym = (const void *)&symbol, .sympos = (position) }
#endif

/*
 * Says where the symbol is as a part of its declaration, which may then have a
 * name of its own: two files, or one, can so use two symbols of one name. The
 * first object is the one that the code which uses the symbol patches: the
 * reference is written when that is loaded. The second one defines the symbol.
 *
 *	extern int their_static KLP_RELOC_SYMBOL_POS(vmlinux, vmlinux, some_static, 2);
 */
#ifndef KLP_RELOC_SYMBOL_POS
/*
 * gcc hands the name to the assembler as it stands here, and the assembler needs
 * quotes for the comma. clang takes it for the name itself, and quotes it where
 * it writes assembler.
 */
#ifdef __clang__
#define KLP_QUOTE_NAME ""
#else
#define KLP_QUOTE_NAME "\""
#endif
#define KLP_RELOC_SYMBOL_POS(patched, object, symbol, position) \
	__asm__(KLP_QUOTE_NAME ".klp.sym.rela." #patched "." #object "." #symbol \
		"," #position KLP_QUOTE_NAME)
#endif

/* For a symbol that is there only once. */
#ifndef KLP_RELOC_SYMBOL
#define KLP_RELOC_SYMBOL(patched, object, symbol) \
	KLP_RELOC_SYMBOL_POS(patched, object, symbol, 0)
#endif

#endif
