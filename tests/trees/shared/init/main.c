// SPDX-License-Identifier: GPL-2.0-only
#include <linux/module.h>

char saved_command_line[64] = "quiet";
#ifdef KBUILD_BUILD_VERSION
int build_version = KBUILD_BUILD_VERSION;
#endif
int hidden_counter;
const char linux_banner[] = "Linux version 9.0-mini (klpbuild@tests) (gcc) #1 SMP";

int klog(const char *text)
{
	return text[0] + hidden_counter;
}
EXPORT_SYMBOL(klog);

int text_length(const char *text);

void start(void)
{
	hidden_counter = klog(saved_command_line) + text_length(saved_command_line);
}
