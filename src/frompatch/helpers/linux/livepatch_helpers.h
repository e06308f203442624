/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a patch of which a livepatch is made may use beyond the kernel: kernels from 6.19 on have a header of this name, with
 * these macros; klpbuild livepatch has this one for all others. A callback is noted as a pointer in a section that no module
 * keeps; klpbuild writes it into the klp_object of the file's own object.
 */
#ifndef _LINUX_LIVEPATCH_HELPERS_H
#define _LINUX_LIVEPATCH_HELPERS_H

#include <linux/livepatch.h>

#define __KLPBUILD_CALLBACK(moment, type, func)					\
	static type (*__klp_##moment##_callback_own)(struct klp_object *)	\
	__attribute__((__used__, __section__(".discard.klp_callback_ptrs"))) = (func)

#define KLP_PRE_PATCH_CALLBACK(func)	__KLPBUILD_CALLBACK(pre_patch, int, func)
#define KLP_POST_PATCH_CALLBACK(func)	__KLPBUILD_CALLBACK(post_patch, void, func)
#define KLP_PRE_UNPATCH_CALLBACK(func)	__KLPBUILD_CALLBACK(pre_unpatch, void, func)
#define KLP_POST_UNPATCH_CALLBACK(func)	__KLPBUILD_CALLBACK(post_unpatch, void, func)

/* A static call as a plain call through the pointer of its key. */
#define KLP_STATIC_CALL(name) \
	((typeof(STATIC_CALL_TRAMP(name)) *)READ_ONCE(STATIC_CALL_KEY(name).func))

/* klpbuild takes system calls as they are. */
#define KLP_SYSCALL_DEFINE1(...) SYSCALL_DEFINE1(__VA_ARGS__)
#define KLP_SYSCALL_DEFINE2(...) SYSCALL_DEFINE2(__VA_ARGS__)
#define KLP_SYSCALL_DEFINE3(...) SYSCALL_DEFINE3(__VA_ARGS__)
#define KLP_SYSCALL_DEFINE4(...) SYSCALL_DEFINE4(__VA_ARGS__)
#define KLP_SYSCALL_DEFINE5(...) SYSCALL_DEFINE5(__VA_ARGS__)
#define KLP_SYSCALL_DEFINE6(...) SYSCALL_DEFINE6(__VA_ARGS__)

#endif
