// SPDX-License-Identifier: GPL-2.0-only
/* References from code and data in sections of their own. */
#include <linux/kernel.h>
#include "klp_relocs.h"

extern char *saved_command_line;
extern const char conv_driver_name[];
extern const char conv_homonym[];
extern const char *conv_get_driver_name(void);

static KLP_MODULE_RELOC(klpbuild_conv) conv_relocs[] = {
	KLP_SYMPOS(conv_homonym, 2),
};

static const char *const lp_names[] __used __section(".data.names") = { conv_driver_name, conv_homonym };
static char **lp_line __used __section(".data.line") = &saved_command_line;

static noinline __section(".text.first") const char *lp_first(void)
{
	return conv_get_driver_name();
}

static noinline __section(".text.second") const char *lp_second(void)
{
	return conv_homonym;
}

static noinline int lp_show(char *buffer, size_t size)
{
	const char *const volatile *names = lp_names;
	char **volatile *line = &lp_line;

	return scnprintf(buffer, size, "%.2s, %s, %s, %s, %s\n", **line, names[0], names[1], lp_first(),
			 lp_second());
}

#include "lp-conv.h"
