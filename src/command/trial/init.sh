# SPDX-License-Identifier: GPL-2.0-only
# Process 1 of the guest: busybox's sh runs this. What is to be done lies in /klpbuild (src/trial/initramfs.rs);
# what is done is told to the host on the console, in lines that begin with the token of this run
# (src/trial/protocol.rs). Between those there is only what the kernel prints when it panics. What the host has to say
# comes from the same console: its clock alone counts, as the guest's may go as it likes.

PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/ TERM=dumb
export PATH HOME TERM
here=/klpbuild
patches=/sys/kernel/livepatch
for what in proc:/proc sysfs:/sys; do /bin/busybox mount -t ${what%:*} ${what%:*} ${what#*:}; done
/bin/busybox --install -s /bin
dmesg -n 1
# Of no harm if there is no such thing in this kernel; for COMMAND.
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
# Some builds of busybox want it before they unload anything.
mkdir -p "/lib/modules/$(uname -r)"
# Known to this shell alone: no file, no environment and no argument of a program ever has it again.
read -r token <$here/token
rm $here/token
read -r mark <$here/mark

say() { printf '%s %s\n' "$token" "$*"; }

# Each line of the input, as a word to the host; up to the mark, if there is one. By the shell alone: the token is in no
# other program, and nothing waits for what holds the pipe.
lines() {
    while IFS= read -r line || [ -n "$line" ]; do
        case $2:$line in
        :*) say "$1" "$line" ;;
        *:*"$2"*)
            line=${line%%"$2"*}
            [ -z "$line" ] || say "$1" "$line"
            break
            ;;
        *) say "$1" "$line" ;;
        esac
    done
}

# The host counts the stages as well: what it says of one is not taken for the next.
stage=0
begin() {
    stage=$((stage + 1))
    say begin "$@"
}
end() {
    dmesg -r -c | lines kernel
    say end "$@"
}
is_late() { [ "$(content $here/late)" = $stage ]; }
leave() {
    say done
    # What is said has to get out of the serial port.
    pause; pause
    # Not poweroff: that needs ACPI. QEMU takes it for the end (-no-reboot).
    reboot -f
    while :; do sleep 60; done
}
stop() { end failed "$@"; leave; }
pause() { sleep 0.1 2>/dev/null || sleep 1; }
content() { cat "$1" 2>/dev/null || echo 0; }
name_of() { cat "$1/name"; }

# The output goes to the host as it comes: what was printed before a panic is seen.
ask() {
    [ -e $here/command ] || return 0
    begin command "$1"
    # Ends the lines, although something that was left in the background may hold the pipe (and read it).
    {
        cd / && sh $here/command 2>&1 </dev/null
        echo $? >$here/status
        printf '%s\n' "$mark"
    } | lines output "$mark"
    read -r status <$here/status
    case $status in
    0) end ok ;;
    126 | 127) stop "status $status: the guest has no commands but busybox's" ;;
    *) end ok "status $status" ;;
    esac
}

insert() {
    for file in "$1"/*.ko; do insmod "$file" >$here/out 2>&1 && return 0; done
    lines output <$here/out
    return 1
}

load() {
    for file in "$1"/*.ko; do begin load "${file##*/}"; done
    insert "$1" || stop "the kernel refused it"
    end ok
}

# The tasks that have not come to what "enabled" asks for, with their stacks.
holders() {
    for task in /proc/[0-9]*/task/[0-9]*; do
        state=$(content "$task/patch_state")
        [ "$state" = "-1" ] || [ "$state" = "$(content "$1/enabled")" ] && continue
        echo "held up by $(content "$task/comm") (task ${task##*/})"
        sed 's/^/  /' "$task/stack" 2>/dev/null
    done
}

# Until the transition is over: "transition" is 0, or the patch is gone, as disabled ones are from 5.1 on.
settle() {
    while [ "$(content "$1/transition")" != 0 ]; do
        if is_late; then
            holders "$1" | lines output
            stop "not complete after $(content $here/seconds) s"
        fi
        pause
    done
}

apply() {
    name=$(name_of "$1")
    begin transition "$name"
    [ -d "$patches/$name" ] || stop "there is no $patches/$name"
    settle "$patches/$name"
    end ok
}

# Which of the objects that the patch names are there and patched (told by the kernel from 6.1 on; a module that is
# built in has a directory below /sys/module, too).
objects() {
    name=$(name_of "$1")
    for object in "$patches/$name"/*/; do
        object=${object%/}
        [ -d "$object" ] || continue
        if [ -e "$object/patched" ]; then
            state=$(content "$object/patched")
        elif [ "${object##*/}" = vmlinux ] || [ -e "/sys/module/${object##*/}/initstate" ]; then
            state=1
        else
            state=0
        fi
        say object "$name" "${object##*/}" "$state"
    done
}

is_patched() {
    for object in $patches/*/"$1"; do [ -d "$object" ] && return 0; done
    return 1
}

# A module is let go of a moment after what used it is gone.
remove() {
    while [ "$(content "/sys/module/$1/refcnt")" != 0 ] && ! is_late; do pause; done
    rmmod "$1" >$here/out 2>&1 && return 0
    lines output <$here/out
    stop "the kernel does not let go of it"
}

reload() {
    name=$(name_of "$1")
    is_patched "$name" || return 1
    for file in "$1"/*.ko; do begin reload "${file##*/}"; done
    if [ -e $here/no-reload ]; then
        end skipped "$(cat $here/no-reload)"
        return 1
    elif [ -e "$1/no-unload" ]; then
        end skipped "$(cat "$1/no-unload")"
        return 1
    elif [ "$(content "/sys/module/$name/refcnt")" != 0 ]; then
        : >"$1/in-use"
        end skipped "something else uses it"
        return 1
    fi
    remove "$name"
    insert "$1" || stop "the kernel refused it the second time"
    end ok
}

disable() {
    name=$(name_of "$1")
    begin disable "$name"
    if [ ! -d "$patches/$name" ]; then
        end skipped "a later one has replaced it"
        return
    fi
    echo 0 2>$here/out >"$patches/$name/enabled" || stop "the kernel refused it"
    settle "$patches/$name"
    [ "$(content "$patches/$name/enabled")" = 0 ] || stop "it is still enabled"
    end ok
}

# The module among those that use this one that stays, as something else uses it in turn.
stayed() {
    for holder in "/sys/module/$(name_of "$1")/holders"/*; do
        [ -d "$holder" ] && echo "${holder##*/}" && return
    done
}

unload() {
    for file in "$1"/*.ko; do begin unload "${file##*/}"; done
    if [ -e $here/no-unload ]; then
        end skipped "$(cat $here/no-unload)"
    elif [ -e "$1/no-unload" ]; then
        end skipped "$(cat "$1/no-unload")"
    elif [ -e "$1/in-use" ]; then
        end skipped "something else uses it"
    elif user=$(stayed "$1") && [ -n "$user" ]; then
        end skipped "$user uses it"
    else
        remove "$(name_of "$1")"
        end ok
    fi
}

each() {
    for directory in $2; do [ -d "$directory" ] && "$1" "$directory"; done
}
backwards() {
    list=
    for directory in "$@"; do list="$directory $list"; done
    echo "$list"
}

# What the host says: a stage takes too long, or all does, and then what the kernel has to say is wanted.
stty -F /dev/ttyS0 -echo 2>/dev/null
while read -r word number seconds; do
    case $word in
    late)
        echo "$seconds" >$here/seconds
        echo "$number" >$here/late
        ;;
    last)
        echo w >/proc/sysrq-trigger
        dmesg -r -c | lines kernel
        ;;
    esac
done </dev/ttyS0 2>/dev/null &

[ -r /sys/kernel/notes ] && say notes "$(hexdump -v -e '1/1 "%02x"' /sys/kernel/notes)"
dmesg -c >/dev/null
say hello "$(uname -r)"

before=$(echo $here/before/*) livepatches=$(echo $here/livepatches/*) after=$(echo $here/after/*)
each load "$before"
ask before
for directory in $livepatches; do
    load "$directory"
    apply "$directory"
    objects "$directory"
done
each load "$after"
each objects "$livepatches"
ask enabled
reloaded=
for directory in $before $after; do
    [ -d "$directory" ] && reload "$directory" && reloaded=yes
done
[ -z "$reloaded" ] || ask reloaded
each disable "$(backwards $livepatches)"
ask after
each unload "$(backwards $livepatches)"
each unload "$(backwards $after) $(backwards $before)"
begin end
end ok
leave
