// SPDX-License-Identifier: GPL-2.0-only
use super::*;

fn config(text: &str) -> (tempfile::TempDir, Config) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(".config");
    fs::write(&path, text).unwrap();
    let config = Config::read(&path).unwrap();
    (dir, config)
}

const TEXT: &str = r#"
# config COMMENTED
config HAVE_IT
	bool
	help
	  Whatever has it,
	  config LIVEPATCH is no line of its own here.

	  depends on nothing

menu "Debugging"
	depends on DEBUGGING

config TABLE
	bool "A table"
	depends on EXPERT && \
		!SMALL

endmenu

if TRACING
config WITH_ONE
	def_bool y
	depends on HAVE_ONE
config WITH_TWO
	def_bool y
	depends on TRACER
config TRACER
	bool "Tracer"
endif

config DEBUGGING
	bool "Debugging"
config EXPERT
	bool 'Expert'
config TRACING
	bool "Tracing"
config HAVE_ONE
	bool

config LIVEPATCH
	bool "Live patching"
	depends on WITH_ONE || WITH_TWO
	depends on (TABLE || VERSION > 5) && TABLE
	depends on HAVE_IT
	depends on !TRIMMED && $(cc-option,-x)
	help
	  Say Y.

config ARCHITECTURE
	def_bool y
	select HAVE_IT		if WIDE
"#;

#[test]
fn each_reason_is_told_with_what_to_set() {
    let mut kconfig = Kconfig::default();
    kconfig.parse(TEXT);
    let (_dir, nothing) = config("CONFIG_HAVE_ALL=y\nCONFIG_TRIMMED=y\nCONFIG_SMALL=y\n");
    let obstacles = kconfig.obstacles("LIVEPATCH", &nothing).unwrap();
    assert_eq!(
        obstacles.reasons,
        [
            "LIVEPATCH depends on WITH_ONE || WITH_TWO",
            "WITH_TWO depends on TRACING",
            "WITH_TWO depends on TRACER",
            "TRACER depends on TRACING",
            "LIVEPATCH depends on TABLE",
            "TABLE depends on DEBUGGING",
            "TABLE depends on EXPERT",
            "TABLE depends on !SMALL",
            "LIVEPATCH depends on HAVE_IT",
            "HAVE_IT is selected if WIDE",
        ]
    );
    assert_eq!(obstacles.enable, ["TRACING", "TRACER", "DEBUGGING", "EXPERT", "TABLE", "LIVEPATCH"]);
    assert_eq!(obstacles.disable, ["SMALL"]);
    assert_eq!(kconfig.obstacles("COMMENTED", &nothing), None);
}

#[test]
fn what_is_met_is_no_reason() {
    let mut kconfig = Kconfig::default();
    kconfig.parse(TEXT);
    let most = "CONFIG_WITH_ONE=y\nCONFIG_TABLE=m\nCONFIG_HAVE_IT=y\n";
    let (_dir, unset) = config(most);
    let only = Obstacles { enable: vec!["LIVEPATCH".to_owned()], ..Obstacles::default() };
    assert_eq!(kconfig.obstacles("LIVEPATCH", &unset), Some(only));
    let (_dir, set) = config(&format!("{most}CONFIG_LIVEPATCH=y\n"));
    assert_eq!(kconfig.obstacles("LIVEPATCH", &set), None);
}

/// A configuration written by hand lacks the options that follow from others.
#[test]
fn of_a_fragment_only_what_can_be_set_is_told() {
    let mut kconfig = Kconfig::default();
    kconfig.parse(TEXT);
    let (_dir, fragment) = config("CONFIG_TRACING=y\nCONFIG_TABLE=y\n");
    let obstacles = kconfig.obstacles("LIVEPATCH", &fragment).unwrap();
    assert_eq!((obstacles.reasons, obstacles.enable), (Vec::new(), vec!["LIVEPATCH".to_owned()]));
    let (_dir, fragment) = config("CONFIG_TRACING=y\n");
    let obstacles = kconfig.obstacles("LIVEPATCH", &fragment).unwrap();
    assert_eq!(obstacles.reasons.first().map(String::as_str), Some("LIVEPATCH depends on TABLE"));
    assert_eq!(
        obstacles.remedy(Path::new("my.config")),
        "scripts/config --file my.config -e DEBUGGING -e EXPERT -e TABLE -e LIVEPATCH, then: klpbuild modules olddefconfig"
    );
}

#[test]
fn odd_conditions_are_met() {
    let (_dir, config) = config("CONFIG_A=y\n");
    for text in
        ["A && B = \"x && y\"", "!(B || C)", "A != n && A", "$(success,sh -c \"(\")", "A &&", "((A", "é"]
    {
        assert!(Expression::parse(text).holds(&config) || text == "é", "{text}");
    }
    assert!(!Expression::parse("A && !A").holds(&config) && !Expression::parse("B || !A").holds(&config));
    assert_eq!(Expression::parse(&"(".repeat(100_000)), Expression::Unknown);
    assert_eq!(Expression::parse("A && (B || !C) # so").to_string(), "A && (B || !C)");
}
