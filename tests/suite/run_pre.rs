// SPDX-License-Identifier: GPL-2.0-only
//! Units that were compiled again, against small kernels: which function and variable of the kernel each of theirs is.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use klpbuild::elf::image::Image;
use klpbuild::frompatch::run_pre::{FunctionFate, KernelImage, Matched, Mismatch, compare};
use klpbuild::kernel::origin::Origin;
use klpbuild::kernel::sources::Sources;
use klpbuild::kernel::symbols::objects::{Objects, Vmlinux};

/// How the kernel is compiled.
const FLAGS: &[&str] =
    &["-O2", "-fno-pic", "-fno-pie", "-mcmodel=kernel", "-fno-stack-protector", "-fcf-protection=none"];

/// A kernel in a temporary directory.
struct Tiny {
    dir: tempfile::TempDir,
}

impl Tiny {
    /// A vmlinux of units, each a file name and its text.
    fn of(units: &[(&str, &str)]) -> Tiny {
        let tiny = Tiny { dir: tempfile::tempdir().unwrap() };
        let objects: Vec<String> = units.iter().map(|(name, text)| tiny.compile(name, text, &[])).collect();
        tiny.link(&objects);
        tiny
    }

    fn link(&self, objects: &[String]) {
        let mut arguments = vec!["-e", "0", "-Ttext=0xffffffff81000000", "-O2", "-o", "vmlinux"];
        arguments.extend(objects.iter().map(String::as_str));
        self.run("ld", &arguments);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let ran = Command::new(program).args(arguments).current_dir(&self.dir).output().unwrap();
        assert!(ran.status.success(), "{program}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    }

    /// Compiles a unit, with more options, and gives the name of its object.
    fn compile(&self, name: &str, text: &str, options: &[&str]) -> String {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
        let object = format!("{}.o", name.rsplit_once('.').unwrap().0);
        let file = self.path(name);
        let mut arguments = FLAGS.to_vec();
        arguments.extend(options);
        // The name of the source file is given as kbuild does for a unit: with its directory, of which STT_FILE has none.
        arguments.extend(["-c", "-o", &object, file.to_str().unwrap()]);
        self.run("gcc", &arguments);
        object
    }

    /// The kernel's vmlinux as it is compared.
    fn kernel(&self) -> KernelImage {
        let vmlinux = Vmlinux::Image { file: self.path("vmlinux"), system_map: None };
        let mut objects = Objects::default();
        objects.vmlinux = Some(vmlinux);
        self.image(objects, "vmlinux")
    }

    fn image(&self, objects: Objects, object: &str) -> KernelImage {
        let sources = Sources::open(&Origin { objects, ..Origin::default() }, None).unwrap();
        KernelImage::open(&sources, object).unwrap()
    }

    fn compared(&self, object: &str) -> Result<Matched, Vec<Mismatch>> {
        compare(&Image::read(&self.path(object)).unwrap(), &self.kernel())
    }

    /// The addresses of a symbol, ascending, as nm has them.
    fn addresses(&self, name: &str) -> Vec<u64> {
        let mut found: Vec<u64> = self
            .run("nm", &["vmlinux"])
            .lines()
            .filter(|line| line.split(' ').nth(2) == Some(name))
            .map(|line| u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap())
            .collect();
        found.sort_unstable();
        found
    }
}

fn place(matched: &Matched, name: &str) -> (u64, Option<u64>) {
    let located = matched.position(name.as_bytes()).unwrap_or_else(|| panic!("{name} is not located"));
    (located.address(), located.sympos())
}

fn fate<'a>(matched: &'a Matched, name: &str) -> &'a FunctionFate {
    &matched.function(name.as_bytes()).unwrap_or_else(|| panic!("no function {name}")).fate
}

/// The text of all that does not match.
fn told(compared: Result<Matched, Vec<Mismatch>>) -> String {
    let all = compared.unwrap_err();
    all.iter().map(Mismatch::to_string).collect::<Vec<_>>().join("\n")
}

/// A unit with static names that others have, too; `user` is its only own name.
fn twin(user: &str) -> String {
    format!(
        "static int counter; static int limit = 5;\n\
         static __attribute__((noinline)) int step(int by) {{ counter += by; return counter > limit; }}\n\
         int {user}(int by) {{ return step(by) + step(by + 1); }}\n\
         void {user}_set(int to) {{ limit = to; }}\n"
    )
}

#[test]
fn static_names_in_several_files_are_told_apart() {
    let texts: Vec<String> = ["one", "two", "three"].iter().map(|user| twin(user)).collect();
    // All have one name as source files, too.
    let tiny = Tiny::of(&[("a/twin.c", &texts[0]), ("b/twin.c", &texts[1]), ("c/twin.c", &texts[2])]);
    let expected = ["step", "counter", "limit"].map(|name| (name, tiny.addresses(name)));
    for (index, object) in ["a/twin.o", "b/twin.o", "c/twin.o"].iter().enumerate() {
        let matched = tiny.compared(object).unwrap();
        for (name, addresses) in &expected {
            assert_eq!(addresses.len(), 3, "{name}");
            let found = place(&matched, name);
            let position = addresses.iter().position(|address| *address == found.0).unwrap() as u64 + 1;
            assert_eq!(found.1, Some(position), "{object}: {name}");
            // The linker takes the units in this order.
            assert_eq!(found.0, addresses[index], "{object}: {name}");
        }
        assert!(matched.functions.iter().all(|function| matches!(function.fate, FunctionFate::Equal(_))));
    }
    assert_eq!(place(&tiny.compared("b/twin.o").unwrap(), "two").1, Some(0));
}

#[test]
fn what_nothing_tells_apart_is_said_to_be_ambiguous() {
    let text = "static __attribute__((used, section(\".text.lone\"))) int lone(int a) { return a * 7; }\n";
    let own = |name: &str| format!("{text}int {name}(int a) {{ return a + 1; }}\n");
    let tiny = Tiny::of(&[("a/lone.c", &own("first")), ("b/lone.c", &own("second"))]);
    let matched = tiny.compared("a/lone.o").unwrap();
    assert!(matched.position(b"lone").is_none());
    let FunctionFate::Ambiguous(places) = fate(&matched, "lone") else { panic!("{matched:?}") };
    let mut addresses: Vec<u64> = places.iter().map(|place| place.address()).collect();
    addresses.sort_unstable();
    assert_eq!(addresses, tiny.addresses("lone"));
    assert_eq!(matched.candidates(b"lone").len(), 2);
    assert!(matches!(fate(&matched, "first"), FunctionFate::Equal(_)));
    // The names of their source files tell, if these differ.
    let tiny = Tiny::of(&[("a.c", &own("first")), ("b.c", &own("second"))]);
    assert_eq!(place(&tiny.compared("b.o").unwrap(), "lone"), (tiny.addresses("lone")[1], Some(2)));
}

#[test]
fn a_difference_is_shown_as_assembler_of_both_sides() {
    let text = |limit: &str| {
        format!(
            "extern int other(int); int other(int a) {{ return a * 3; }}\n\
             int checked(int *a) {{ if (a[4] > {limit}) return other(a[1]) + 1; return a[2]; }}\n"
        )
    };
    let tiny = Tiny::of(&[("unit.c", &text("5"))]);
    tiny.compared("unit.o").unwrap();
    tiny.compile("unit.c", &text("6"), &[]);
    let message = told(tiny.compared("unit.o"));
    let line = message.lines().find(|line| line.contains("> +")).unwrap();
    assert!(message.starts_with("checked+0x"), "{message}");
    assert!(message.contains("the instructions differ") && message.contains("compiled again"), "{message}");
    let (ours, theirs) = line.rsplit_once("> +").unwrap();
    assert!(
        ours.contains("cmpl    $0x6,0x10(%rdi)") && theirs.contains("cmpl    $0x5,0x10(%rdi)"),
        "{message}"
    );
    // What is equal around it is shown with the names of what is called.
    assert!(!message.contains("other+0x0:"), "{message}");
}

#[test]
fn a_call_of_another_function_is_a_difference() {
    let text = |callee: &str| {
        format!(
            "__attribute__((noinline)) int here(int a) {{ return a * 3; }}\n\
             __attribute__((noinline)) int there(int a) {{ return a * 5; }}\n\
             int user(int a) {{ return {callee}(a) + 1; }}\n"
        )
    };
    let tiny = Tiny::of(&[("unit.c", &text("here"))]);
    tiny.compile("unit.c", &text("there"), &[]);
    let message = told(tiny.compared("unit.o"));
    assert!(message.contains("it refers to there, and the kernel's to here"), "{message}");
    assert!(message.contains("call    there") && message.contains("call    here"), "{message}");
}

#[test]
fn strings_that_the_linker_merged_have_to_be_equal() {
    let user = |name: &str, text: &str| {
        format!(
            "extern const char *put(const char *);\nconst char *{name}(int a) {{ return put(a ? \"{text}\" : \"end of it\"); }}\n"
        )
    };
    let put = "const char *put(const char *text) { return text + 1; }\n";
    // "of it" is the end of another one.
    let one = user("one", "the end of it");
    let tiny = Tiny::of(&[("put.c", put), ("one.c", &one), ("two.c", &user("two", "it"))]);
    tiny.compared("one.o").unwrap();
    tiny.compared("two.o").unwrap();
    tiny.compile("one.c", &user("one", "the end of us"), &[]);
    let message = told(tiny.compared("one.o"));
    assert!(
        message
            .contains("it refers to the constant \"the end of us\", and the kernel's to \"the end of it\""),
        "{message}"
    );
}

#[test]
fn a_weak_function_is_told_from_the_one_that_is_used() {
    let generic = "__attribute__((weak)) int hook(int a) { return a; }\n\
                   __attribute__((weak)) int kept(int a) { return a + 9; }\n\
                   int user(int a) { return hook(a) + kept(a); }\n";
    // A header may say of all definitions that they are weak, as include/linux/perf_event.h of 6.1 does: the first one counts.
    for weak in ["", "__attribute__((weak)) "] {
        let arch = format!("{weak}int hook(int a) {{ return a * 11; }}\n");
        let between = ("between.c", "asm(\".skip 0x4000, 0xcc\");\n");
        let tiny = Tiny::of(&[("arch.c", &arch), between, ("generic.c", generic)]);
        for options in [&[][..], &["-ffunction-sections"]] {
            tiny.compile("generic.c", generic, options);
            let matched = tiny.compared("generic.o").unwrap();
            let FunctionFate::Overridden(other) = fate(&matched, "hook") else { panic!("{matched:?}") };
            assert_eq!(other.address(), tiny.addresses("hook")[0]);
            assert!(matches!(fate(&matched, "kept"), FunctionFate::Equal(_)));
            // What calls it reaches the other one.
            assert_eq!(place(&matched, "hook").0, tiny.addresses("hook")[0]);
        }
    }
    // The only one is the unit's own: where it differs, the source does.
    let tiny = Tiny::of(&[("generic.c", generic)]);
    for options in [&[][..], &["-ffunction-sections"]] {
        tiny.compile("generic.c", &generic.replace("return a + 9", "return a - 9"), options);
        assert!(told(tiny.compared("generic.o")).starts_with("kept+0x"));
    }
}

/// The linker takes the first of several weak functions, and leaves the others in place without a name.
#[test]
fn a_weak_function_of_the_unit_beside_is_told_from_an_own_one() {
    let weak = "__attribute__((weak)) ";
    let arch = format!("{weak}int hook(int a) {{ return a * 11; }}\n");
    let hook = format!("{weak}int hook(int a) {{ return a; }}\n");
    let kept = format!("{weak}int kept(int a) {{ return a + 9; }}\n");
    let user = "int user(int a) { return hook(a) + kept(a); }\n";
    let declared = "int hook(int a); int kept(int a);\n";
    // With a prefix as objtool makes it, too, whose symbol stays (CONFIG_PREFIX_SYMBOLS).
    let prefix = "asm(\".skip 16, 0x90\\n.type __pfx_hook, @function\\n__pfx_hook: .skip 16, 0x90\\n.size __pfx_hook, 16\\n\");\n";
    for parts in [[&hook, &kept, user], [&kept, user, &hook], [user, &hook, &kept]] {
        for prefix in ["", prefix] {
            let generic = [declared, prefix].concat() + &parts.concat();
            let other = ("other.c", "int other(int a) { return a - 1; }\n");
            for units in [
                &[("arch.c", arch.as_str()), ("generic.c", &generic), other][..],
                &[("arch.c", &arch), other, ("generic.c", &generic)],
            ] {
                let tiny = Tiny::of(units);
                for options in [&[][..], &["-ffunction-sections", "-fno-toplevel-reorder"]] {
                    tiny.compile("generic.c", &generic, options);
                    let matched = tiny.compared("generic.o").unwrap();
                    let FunctionFate::Overridden(first) = fate(&matched, "hook") else {
                        panic!("{matched:?}")
                    };
                    assert_eq!(first.address(), tiny.addresses("hook")[0]);
                    assert!(matches!(fate(&matched, "kept"), FunctionFate::Equal(_)));
                    // Another source than the kernel's is still told.
                    tiny.compile("generic.c", &generic.replace("return a;", "return a - 5;"), options);
                    assert!(told(tiny.compared("generic.o")).starts_with("hook+0x"));
                }
            }
        }
    }
}

/// The code of another weak function that is not used may be equal to what the unit's own is taken for.
#[test]
fn a_weak_function_among_the_units_own_is_its_own() {
    let weak = "__attribute__((weak)) ";
    let hook = format!("{weak}int hook(int a) {{ return a; }}\n");
    let text = |by: &str| {
        format!(
            "int first(int a) {{ return a + 1; }}\n{weak}int kept(int a) {{ return a{by}; }}\n\
             int last(int a) {{ return a + 2; }}\n{hook}"
        )
    };
    let tiny = Tiny::of(&[("arch.c", "int hook(int a) { return a * 11; }\n"), ("generic.c", &text(" + 9"))]);
    for options in [&[][..], &["-ffunction-sections"]] {
        tiny.compile("generic.c", &text(""), options);
        assert!(told(tiny.compared("generic.o")).starts_with("kept+0x"));
    }
}

#[test]
fn jumps_may_be_short_or_long_and_no_operations_fill_the_rest() {
    let text = |jump: &str, size: &str| {
        format!(
            ".text\n.globl f\n.type f,@function\nf: test %edi,%edi\n{jump} je 1f\nmov %edi,%eax\n{size} jmp 2f\n.p2align 4\n\
             1: mov $1,%eax\n2: ret\n.size f,.-f\n"
        )
    };
    let tiny = Tiny::of(&[("f.s", &text("{disp32}", "{disp32}"))]);
    tiny.compile("f.s", &text("", ""), &[]);
    let matched = tiny.compared("f.o").unwrap();
    assert_eq!(place(&matched, "f").0, tiny.addresses("f")[0]);
    // One that leads elsewhere is another one.
    tiny.compile("f.s", &text("", "").replace("je 1f", "je 2f"), &[]);
    let message = told(tiny.compared("f.o"));
    assert!(message.contains("f+0x2: the branches lead elsewhere"), "{message}");
    // And so is one on another condition.
    tiny.compile("f.s", &text("", "").replace("je 1f", "jne 1f"), &[]);
    assert!(told(tiny.compared("f.o")).contains("f+0x2: the instructions differ"));
}

#[test]
fn what_the_build_overwrites_is_accepted_where_it_does_so_only() {
    let text = |traced: &str, label: &str, table: &str| {
        format!(
            ".text\n.globl __fentry__, f\n.type __fentry__,@function\n__fentry__: ret\n.size __fentry__,.-__fentry__\n\
             .type f,@function\nf: {traced}\nmov %edi,%eax\n3: {label}\nadd $1,%eax\n1: ret\n.size f,.-f\n{table}"
        )
    };
    let table = ".section __jump_table,\"aw\"\n.long 3b-.,1b-.\n.quad f-.\n";
    let nop = ".byte 0x0f,0x1f,0x44,0,0";
    let tiny = Tiny::of(&[("f.s", &text(nop, ".byte 0x66,0x90", table))]);
    tiny.compile("f.s", &text("call __fentry__", "jmp 1f", table), &[]);
    tiny.compared("f.o").unwrap();
    let refused = [
        // No jump label is there.
        (text("call __fentry__", "jmp 1f", ""), "f+0x7: the instructions differ"),
        // Another function is called.
        (text("call f", "jmp 1f", table), "f+0x0: the instructions differ"),
    ];
    for (text, expected) in refused {
        tiny.compile("f.s", &text, &[]);
        let message = told(tiny.compared("f.o"));
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn variables_are_compared_and_found_through_each_other() {
    let text = |first: &str| {
        format!(
            "static int handler(int a) {{ return a - 2; }}\n\
             static const struct ops {{ int (*call)(int); int first; const int *more; }} inner = {{ handler, {first}, 0 }};\n\
             static const int more[] = {{ 4, 5, 6 }};\n\
             static const struct ops ops = {{ handler, 3, more }};\n\
             const void *get(int a) {{ return a ? &ops : &inner; }}\n"
        )
    };
    let other = "static const int more[] = { 4, 5, 6 };\nstatic int ops = 3;\n\
                 const int *other(int a) { ops += a; return more + a; }\n";
    let tiny = Tiny::of(&[("other.c", other), ("unit.c", &text("1"))]);
    let matched = tiny.compared("unit.o").unwrap();
    // Only the other variable refers to it.
    let all = tiny.addresses("more");
    let found = place(&matched, "more");
    let own = place(&tiny.compared("other.o").unwrap(), "more");
    assert!(all.len() == 2 && all.contains(&found.0) && all.contains(&own.0) && found.0 != own.0);
    assert_ne!(found.1, own.1);
    assert!(matches!(fate(&matched, "handler"), FunctionFate::Equal(_)));
    tiny.compile("unit.c", &text("2"), &[]);
    let message = told(tiny.compared("unit.o"));
    assert_eq!(message, "inner+0x8: its byte 0x8 is 0x02, the kernel has 0x01");
}

#[test]
fn sections_of_their_own_change_nothing() {
    let texts = [twin("one"), twin("two")];
    let tiny = Tiny::of(&[("a/twin.c", &texts[0]), ("b/twin.c", &texts[1])]);
    tiny.compile("b/twin.c", &texts[1], &["-ffunction-sections", "-fdata-sections"]);
    let matched = tiny.compared("b/twin.o").unwrap();
    for name in ["step", "counter", "limit"] {
        assert_eq!(place(&matched, name), (tiny.addresses(name)[1], Some(2)), "{name}");
    }
}

#[test]
fn a_function_that_is_not_there_is_a_difference() {
    let tiny = Tiny::of(&[("a.c", "int f(int a) { return a; }\n")]);
    tiny.compile("a.c", "int f(int a) { return a; }\nint g(int a) { return a; }\n", &[]);
    assert_eq!(told(tiny.compared("a.o")), "g+0x0: vmlinux has no function of this name");
}

#[test]
fn a_module_is_compared_by_its_relocations() {
    let tiny = Tiny::of(&[("core.c", "int printk(const char *text) { return *text; }\n")]);
    let unit = |user: &str, text: &str, callee: &str| {
        format!(
            "{}extern int {callee}(const char *);\nint {user}_say(void) {{ return {callee}(\"{text}\"); }}\n",
            twin(user)
        )
    };
    let parts = [
        tiny.compile("a.c", &unit("one", "one", "printk"), &[]),
        tiny.compile("b.c", &unit("two", "two", "printk"), &[]),
    ];
    tiny.run("ld", &["-r", "-o", "mod.ko", &parts[0], &parts[1]]);
    let kernel = |tiny: &Tiny| {
        let mut objects = Objects::default();
        let vmlinux = Vmlinux::Image { file: tiny.path("vmlinux"), system_map: None };
        objects.vmlinux = Some(vmlinux);
        objects.add_installed("mod".to_owned(), tiny.path("mod.ko"), Vec::new());
        tiny.image(objects, "mod")
    };
    let compared = || compare(&Image::read(&tiny.path("b.o")).unwrap(), &kernel(&tiny));
    let matched = compared().unwrap();
    for name in ["step", "counter", "limit"] {
        let located = matched.position(name.as_bytes()).unwrap();
        assert_eq!((located.object.as_str(), located.sympos()), ("mod", Some(2)), "{name}");
    }
    assert!(matched.position(b"printk").is_none(), "it is not in the module");
    tiny.compile("b.c", &unit("two", "two", "printx"), &[]);
    assert!(told(compared()).contains("it refers to printx, and the kernel's to printk"));
    tiny.compile("b.c", &unit("two", "too", "printk"), &[]);
    assert!(told(compared()).contains("it refers to the constant \"too\", and the kernel's to \"two\""));
}
