/* SPDX-License-Identifier: GPL-2.0-only */
/* The names that patches written for kpatch use, for klpbuild livepatch. */
#ifndef __KPATCH_MACROS_H_
#define __KPATCH_MACROS_H_

#include <linux/printk.h>
#include <linux/livepatch_helpers.h>

typedef struct klp_object patch_object;

#define KPATCH_PRE_PATCH_CALLBACK(func)		KLP_PRE_PATCH_CALLBACK(func)
#define KPATCH_POST_PATCH_CALLBACK(func)	KLP_POST_PATCH_CALLBACK(func)
#define KPATCH_PRE_UNPATCH_CALLBACK(func)	KLP_PRE_UNPATCH_CALLBACK(func)
#define KPATCH_POST_UNPATCH_CALLBACK(func)	KLP_POST_UNPATCH_CALLBACK(func)

#define KPATCH_STATIC_CALL(name)		KLP_STATIC_CALL(name)
#define KPATCH_PRINTK(...)			printk(__VA_ARGS__)
#define KPATCH_PRINTK_DEFERRED(...)		printk_deferred(__VA_ARGS__)

#define KPATCH_SYSCALL_DEFINE1(...)		SYSCALL_DEFINE1(__VA_ARGS__)
#define KPATCH_SYSCALL_DEFINE2(...)		SYSCALL_DEFINE2(__VA_ARGS__)
#define KPATCH_SYSCALL_DEFINE3(...)		SYSCALL_DEFINE3(__VA_ARGS__)
#define KPATCH_SYSCALL_DEFINE4(...)		SYSCALL_DEFINE4(__VA_ARGS__)
#define KPATCH_SYSCALL_DEFINE5(...)		SYSCALL_DEFINE5(__VA_ARGS__)
#define KPATCH_SYSCALL_DEFINE6(...)		SYSCALL_DEFINE6(__VA_ARGS__)

/* What would have a change left out, or a check of the kernel: klpbuild does neither. */
#define KPATCH_IGNORE_FUNCTION(func) \
	_Static_assert(0, "klpbuild leaves no changed function out: take KPATCH_IGNORE_FUNCTION(" #func ") out of the patch")
#define KPATCH_IGNORE_SECTION(section) \
	_Static_assert(0, "klpbuild leaves no changed section out: take KPATCH_IGNORE_SECTION(" #section ") out of the patch")
#define KPATCH_FORCE_UNSAFE(func) \
	_Static_assert(0, "livepatches are never forced: take KPATCH_FORCE_UNSAFE(" #func ") out of the patch")

#endif
