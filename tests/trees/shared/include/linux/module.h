/* SPDX-License-Identifier: GPL-2.0-only */
#define EXPORT_SYMBOL(name) \
	extern typeof(name) name; \
	static const void *__ksymtab_##name \
		__attribute__((used, section("___ksymtab+" #name))) = (void *)&name

#define MODULE_INFO(tag, value) \
	static const char __modinfo_##tag[] \
		__attribute__((used, section(".modinfo"))) = #tag "=" value
