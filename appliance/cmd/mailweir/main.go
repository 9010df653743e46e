// Command mailweir governs SMTP in line. `mailweir --help` lists what it can do;
// the command-line contract is kept here and nowhere else.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/mailweir/mailweir/appliance/boot"
	"github.com/mailweir/mailweir/appliance/lab"
	"github.com/mailweir/mailweir/web-admin/remote"
)

// version is set by the linker; see the Makefile.
var version = "unknown"

// Exit codes of the contract.
const (
	exitFailed = 1 // the work failed
	exitUsage  = 2 // wrong usage or configuration
)

// usageError is a mistake of whoever typed the command or wrote the configuration.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// command is one word after `mailweir`.
type command struct {
	name, args, does string
	run              func(ctx context.Context, c *invocation) error
}

// invocation is a command being run: its flags and where it prints.
type invocation struct {
	flags          *flag.FlagSet
	argv           []string
	stdout, stderr io.Writer
}

// parse reads the flags, which may stand before or after the other arguments,
// and returns the latter.
func (c *invocation) parse() ([]string, error) {
	var rest []string
	argv := c.argv
	for {
		if err := c.flags.Parse(argv); err != nil {
			return nil, err
		}
		if c.flags.NArg() == 0 {
			return rest, nil
		}
		rest = append(rest, c.flags.Arg(0))
		argv = c.flags.Args()[1:]
	}
}

var commands = []command{
	{"run", "--config FILE --data DIR", "govern; SIGHUP reloads the configuration, SIGTERM stops", runCommand},
	{"check", "--config FILE [--json]", "validate a configuration and print the effective one", checkCommand},
	{"status", "[--data DIR] [--json]", "mode, stages, counters and health of the running one", statusCommand},
	{"subscribers", "[ID] [--data DIR] [--json]", "who is in which stage and why; with ID: everything about one", subscribersCommand},
	{"release", "ID [--undo] [--data DIR] [--json]", "let a subscriber go by hand: stage observe, budgets full; --undo takes that back, for 15 minutes", releaseCommand},
	{"exempt", "ID --until T --reason R | ID --end [--data DIR] [--json]", "let a subscriber pass until T, counted as ever; or end that", exemptCommand},
	{"plan", "ID PLAN | ID --list [--data DIR] [--json]", "put a subscriber under another plan; or back under the list's", planCommand},
	{"case", "NUMBER [--data DIR] [--json]", "what happened under a case number", caseCommand},
	{"lookup", "ADDRESS [--at T] [--data DIR] [--json]", "who holds an address, or held it at a time", lookupCommand},
	{"unmapped", "[--data DIR] [--json]", "sources that are nobody's line, and what they did", unmappedCommand},
	{"presets", "[NAME] [--json]", "the ready-made plans that a configuration can name", presetsCommand},
	{"sentences", "[LANGUAGE]", "what a caller is told, as a file to change: en or de; admin.sentences_file names yours", sentencesCommand},
	{"replay", "--config FILE {--journal DIR | --pcap FILE…} [--against FILE2] [--json]", "what a configuration would have made of what a box saw, or of captured packets; needs no root", replayCommand},
	{"export", "{sessions|decisions|stages|records|series} [--format csv|json] [--from T] [--to T] [--subscriber ID] [--case NUMBER] [--data DIR]", "what the journal holds, for a spreadsheet or a program", exportCommand},
	{"hold", "[NUMBER {--reason R | --end}] [--data DIR] [--json]", "keep what belongs to a case beyond its time; or end that; or list what is held", holdCommand},
	{"users", usersUsage + " [--data DIR] [--json]", "who may log in at the web admin, and as what; setup-code: for the first visit", usersCommand},
	{"records", "verify [FILE|DIR…] [--head [BOX:]SEQ:HASH] [--collector URL] [--prefix WORDS] [--without-text] [--data DIR] [--json]", "check number and chain of a collector's log, a spool, a journal; needs no root", recordsCommand},
	{"backup", "{FILE|-} [--passphrase-file {F|-}] [--data DIR]", "one file of the configuration and what it names, secrets too, as the web admin makes it", backupCommand},
	{"restore", "{FILE|-} [--dry-run] [--passphrase-file {F|-}] [--data DIR] [--json]", "put a backup back, all of it or nothing; or say what that would change", restoreCommand},
	{"update", "{FILE|-} [--dry-run] [--json]", "put an update into the slot that does not run; it goes on trial at the next start", updateCommand},
	{"slots", "[--json]", "the two slots: what is in them, which one runs, which one is started next", slotsCommand},
	{"uci", "--config FILE [FILE] [--dry-run]", "set in a configuration what OpenWrt's /etc/config/mailweir says", uciCommand},
	{"lab", "[--for DURATION]", "a network on this machine with real mail servers and a bot, and the box in it", labCommand},
	{"version", "[--json]", "print the version", versionCommand},
}

// later are the commands of the contract that are not built yet.
var later = []string{"reset", "init"}

func main() {
	boot.Reexec()   // as process 1 of the image, and as a child of it, this does not return
	remote.Reexec() // as the web admin of another
	lab.Reexec()    // the lab runs programs inside its namespaces through this binary; else this returns
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(Main(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Main runs one command line and returns its exit code. Errors are one line on
// stderr: what, where, what to do.
func Main(ctx context.Context, argv []string, stdout, stderr io.Writer) int {
	if len(argv) == 0 {
		usage(stderr)
		return exitUsage
	}
	name := argv[0]
	switch name {
	case "-h", "-help", "--help", "help":
		usage(stdout)
		return 0
	case "-version", "--version":
		name = "version"
	}
	for _, cmd := range commands {
		if cmd.name != name {
			continue
		}
		flags := flag.NewFlagSet(name, flag.ContinueOnError)
		flags.SetOutput(io.Discard)
		inv := &invocation{flags: flags, argv: argv[1:], stdout: stdout, stderr: stderr}
		err := cmd.run(ctx, inv)
		switch {
		case err == nil:
			return 0
		case errors.Is(err, flag.ErrHelp):
			fmt.Fprintf(stdout, "usage: mailweir %s %s\n%s\n", cmd.name, cmd.args, cmd.does)
			flags.SetOutput(stdout)
			flags.PrintDefaults()
			return 0
		}
		fmt.Fprintf(stderr, "mailweir: %s\n", oneLine(err))
		if _, parse := errors.AsType[usageError](err); parse || isFlagError(err) {
			return exitUsage
		}
		return exitFailed
	}
	for _, l := range later {
		if l == name {
			if slices.ContainsFunc(argv[1:], func(a string) bool { return a == "-h" || a == "-help" || a == "--help" }) {
				fmt.Fprintf(stdout, "mailweir %s is not built yet in version %s\n", name, version)
				return 0
			}
			fmt.Fprintf(stderr, "mailweir: %s is not built yet in version %s; nothing was done\n", name, version)
			return exitFailed
		}
	}
	fmt.Fprintf(stderr, "mailweir: no command %q; `mailweir --help` lists them\n", name)
	return exitUsage
}

// isFlagError tells the flag package's complaints from ours: it has no type for them.
func isFlagError(err error) bool {
	for _, start := range []string{"flag provided but not defined", "flag needs an argument", "invalid value", "invalid boolean", "bad flag syntax"} {
		if strings.HasPrefix(err.Error(), start) {
			return true
		}
	}
	return false
}

func oneLine(err error) string {
	return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
}

func usage(w io.Writer) {
	fmt.Fprint(w, "mailweir governs SMTP at the edge: it slows, defers or cuts who goes over budget, and nobody else.\n\nusage: mailweir COMMAND [flags]\n\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  %-12s %s\n  %12s   %s\n", c.name, c.args, "", c.does)
	}
	fmt.Fprintf(w, "\nNot built yet: %s.\n", strings.Join(later, ", "))
}

func versionCommand(_ context.Context, c *invocation) error {
	asJSON := c.flags.Bool("json", false, "print JSON")
	if _, err := c.parse(); err != nil {
		return err
	}
	goVersion := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		goVersion = info.GoVersion
	}
	if *asJSON {
		return printJSON(c.stdout, map[string]string{"version": version, "go": goVersion})
	}
	fmt.Fprintf(c.stdout, "mailweir %s (%s)\n", version, goVersion)
	return nil
}
