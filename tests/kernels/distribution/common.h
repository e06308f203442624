/* SPDX-License-Identifier: GPL-2.0-only */
/* One symbol of vmlinux and one of the module 8021q, neither of them exported. */
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>

extern char *saved_command_line;
extern const char *const vlan_name_type_str[];

#define LIVEPATCH(object, function)							\
	static struct klp_func funcs[] = {						\
		{ .old_name = #function, .new_func = new_##function }, { }		\
	};										\
	static struct klp_object objs[] = { { .name = object, .funcs = funcs }, { } };	\
	static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objs };		\
	static int __init patch_init(void) { return klp_enable_patch(&patch); }		\
	static void __exit patch_exit(void) { }						\
	module_init(patch_init);							\
	module_exit(patch_exit);							\
	MODULE_DESCRIPTION("Livepatch of " #function);					\
	MODULE_LICENSE("GPL");								\
	MODULE_INFO(livepatch, "Y")
