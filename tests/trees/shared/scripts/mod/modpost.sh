#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# modpost [-wa] [-i DUMP]... -o SYMVERS [-T LIST] [OBJECT]
# -a: writes also what it has read from dumps, as up to 5.11
# Stands in for modpost: finds undefined symbols, writes *.mod.c and a dump of the exports.
LC_ALL=C; export LC_ALL
warn= all= dumps= out= list=/dev/null
while getopts wai:o:T: option; do
	case $option in
	w) warn=1 ;;
	a) all=1 ;;
	i) dumps="$dumps $OPTARG" ;;
	o) out=$OPTARG ;;
	T) list=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
modules=$(sed 's/\.ko$/.o/' "$list")
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
for object in "$@" $modules; do
	nm -f posix "$object" | sed -n "s|^__ksymtab_\([^ ]*\) .*|0x00000000	\1	${object%.o}	EXPORT_SYMBOL	|p"
done > "$work/exports"
cat "$work/exports" $dumps | cut -f2 | sort -u > "$work/known"
for object in $modules; do
	# With a series of kbuild-patches, livepatches are left to klpbuild.
	[ "${KBUILD_LIVEPATCHES:-}" ] && grep -qx "${object%.o}.ko" "$KBUILD_LIVEPATCHES" && continue
	# Nothing has to define a weak one. Names with a number are cut at their first dot.
	nm -u "$object" | sed '/^ *[vw] /d; s/^ *U //; s/^\([^.][^.]*\)\.[0-9][0-9]*$/\1/; s/^\([^.][^.]*\)\.[0-9][0-9]*\..*/\1/' | sort -u | comm -23 - "$work/known" | sed "s|.*|\"&\" [${object%.o}.ko] undefined!|"
done > "$work/undefined"
if [ -s "$work/undefined" ]; then
	[ "$warn" ] && level=WARNING || level=ERROR
	head -n 10 "$work/undefined" | sed "s/^/$level: modpost: /" >&2
	more=$(($(wc -l < "$work/undefined") - 10))
	[ $more -le 0 ] || echo "WARNING: modpost: suppressed $more unresolved symbol warnings because there were too many)" >&2
	[ "$warn" ] || exit 1
fi
for object in $modules; do
	echo "const char module_name[] __attribute__((section(\".modinfo\"))) = \"name=$(basename "${object%.o}" | tr -- -, __)\";" > "$work/c"
	cmp -s "$work/c" "${object%.o}.mod.c" || cp "$work/c" "${object%.o}.mod.c"
done
cat "$work/exports" ${all:+$dumps} > "$out"
