package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/mailweir/mailweir/appliance/durable"
	webadmin "github.com/mailweir/mailweir/web-admin"
	"github.com/mailweir/mailweir/web-admin/sealed"
)

const passphraseFlag = "a file whose first line locks or opens the backup (- reads standard input); never on the command line, which others can see"

// backupCommand has the running one make the file that its page of backups makes.
func backupCommand(ctx context.Context, c *invocation) error {
	data := c.flags.String("data", defaultData, "data directory of the running one")
	from := c.flags.String("passphrase-file", "", passphraseFlag)
	rest, err := c.parse()
	if err != nil {
		return err
	}
	if len(rest) != 1 || rest[0] == "" {
		return usagef("backup takes one FILE, or - for standard output")
	}
	passphrase, err := c.passphrase(*from)
	if err != nil {
		return err
	}
	file, err := newClient(*data).ask(ctx, http.MethodPost, []string{"backup"}, nil, "", nil)
	if err != nil {
		return err
	}
	if passphrase != "" {
		if file, err = sealed.Seal(file, passphrase); err != nil {
			return err
		}
	}
	if rest[0] == "-" {
		_, err := c.stdout.Write(file)
		return err
	}
	if err := durable.Replace(rest[0], file); err != nil {
		return err
	}
	secrets := "it holds the box's secrets, and nothing locks it"
	if passphrase != "" {
		secrets = "locked with the passphrase"
	}
	_, err = fmt.Fprintf(c.stdout, "%s: %d bytes, %s\n", rest[0], len(file), secrets)
	return err
}

// restoreCommand has the running one look at a backup, or put it back.
func restoreCommand(ctx context.Context, c *invocation) error {
	data := c.flags.String("data", defaultData, "data directory of the running one")
	asJSON := c.flags.Bool("json", false, "print JSON, as the API's /restore")
	dry := c.flags.Bool("dry-run", false, "only say what would change")
	from := c.flags.String("passphrase-file", "", passphraseFlag)
	rest, err := c.parse()
	if err != nil {
		return err
	}
	if len(rest) != 1 || rest[0] == "" {
		return usagef("restore takes one FILE, or - for standard input")
	}
	if rest[0] == "-" && *from == "-" {
		return usagef("standard input is either the backup or the passphrase, not both")
	}
	file, err := c.input(rest[0], mostAnswered)
	if err != nil {
		return err
	}
	passphrase, err := c.passphrase(*from)
	if err != nil {
		return err
	}
	switch locked := sealed.Is(file); {
	case locked && passphrase == "":
		return usagef("%s is locked with a passphrase: say --passphrase-file F", rest[0])
	case !locked && passphrase != "":
		return usagef("%s is not locked; leave --passphrase-file away", rest[0])
	case locked:
		if file, err = sealed.Open(file, passphrase); err != nil {
			return fmt.Errorf("%s: %w; nothing was changed", rest[0], err)
		}
	}
	q := url.Values{}
	if *dry {
		q.Set("dry_run", "1")
	}
	answer, err := newClient(*data).ask(ctx, http.MethodPost, []string{"restore"}, q, "application/zip", file)
	if err != nil {
		return err
	}
	var o webadmin.RestoreOutcome
	if err := json.Unmarshal(answer, &o); err != nil {
		return fmt.Errorf("understand the answer of the running mailweir: %w", err)
	}
	if *asJSON {
		return printJSON(c.stdout, o)
	}
	return printRestored(c.stdout, o, *dry)
}

func printRestored(out io.Writer, o webadmin.RestoreOutcome, dry bool) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "backup of box %s, made %s by version %s\n", plain(o.Box), clock(o.Made), plain(o.Version))
	did := "written"
	if dry {
		did = "would be written"
	}
	var files []string
	for _, f := range o.Files {
		files = append(files, plain(f))
	}
	fmt.Fprintf(w, "%s: %s\n", did, strings.Join(files, ", "))
	if len(o.Config.Changed) == 0 {
		fmt.Fprintln(w, "the configuration says the same as that of now; files that it names may differ")
	} else {
		fmt.Fprintln(w, "KEY\tBEFORE\tAFTER")
	}
	for _, d := range o.Config.Changed {
		fmt.Fprintf(w, "%s\t%s\t%s\n", plain(d.Key), plain(cmp.Or(d.Before, "-")), plain(cmp.Or(d.After, "-")))
	}
	for _, p := range o.Config.Warnings {
		fmt.Fprintf(w, "remark: %s %s\n", plain(p.Key), plain(p.Message))
	}
	switch {
	case dry:
		fmt.Fprintln(w, "nothing was changed")
	case len(o.Config.Waiting) > 0:
		fmt.Fprintf(w, "restored; waiting for a restart: %s\n", strings.Join(o.Config.Waiting, ", "))
	default:
		fmt.Fprintln(w, "restored, and in force")
	}
	return w.Flush()
}

// passphrase is the first line of a file; "" without one.
func (c *invocation) passphrase(from string) (string, error) {
	if from == "" {
		return "", nil
	}
	text, err := c.input(from, 4<<10)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	line = strings.TrimSuffix(line, "\r")
	if err := sealed.Check(line); err != nil {
		return "", usagef("--passphrase-file %s: %w", from, err)
	}
	return line, nil
}

// input reads a file, or standard input for -, of at most so many bytes.
func (c *invocation) input(path string, most int64) ([]byte, error) {
	in, name := io.Reader(os.Stdin), "standard input"
	if path != "-" {
		f, err := os.Open(path) // a pipe, too: <(pass show backup)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in, name = f, path
	}
	b, err := io.ReadAll(io.LimitReader(in, most+1))
	if err == nil && int64(len(b)) > most {
		err = errors.New("is too large")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
}
