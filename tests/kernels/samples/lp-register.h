/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The end of a livepatch: what registers `objs`. IS_MARKED is 0 if only the
 * Makefile says that it is a livepatch.
 */
#ifndef IS_MARKED
#define IS_MARKED 1
#endif

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objs, };

static int __init lp_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit lp_exit(void)
{
}

module_init(lp_init);
module_exit(lp_exit);
MODULE_LICENSE("GPL");
#if IS_MARKED
MODULE_INFO(livepatch, "Y");
#endif
