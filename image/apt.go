package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Cache is a directory with the .deb files of the lock, and with an apt of its own,
// which knows nothing of what is installed on this machine and changes nothing there.
type Cache struct {
	Dir    string
	Mirror string // of Debian, e.g. http://deb.debian.org/debian; that of its security updates is beside it, with the end -security
}

// Mirror is the one that answers everywhere.
const Mirror = "http://deb.debian.org/debian"

// keyring is where Debian keeps the keys that its packages are signed with.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// MissingError says which packages could not be had.
type MissingError struct {
	Packages []Package
	Mirror   string
	Err      error // what apt said
}

func (e *MissingError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "these packages are not in the cache and could not be had from %s:\n", e.Mirror)
	for _, p := range e.Packages {
		fmt.Fprintf(&b, "  %s, sha256 %s\n", p, p.SHA256)
	}
	fmt.Fprintf(&b, "%v\n", e.Err)
	b.WriteString("Debian's mirrors keep only the newest versions. Either take these: make image-lock, look at what it changed, and commit it;\n" +
		"or get the old ones from Debian's archive of the past: make image MIRROR=https://snapshot.debian.org/archive/debian/YYYYMMDDT000000Z;\n" +
		"or copy the .deb files from another machine's cache.")
	return b.String()
}

func (e *MissingError) Unwrap() error { return e.Err }

// path is where a package's .deb lies, whether it does or not.
func (c *Cache) path(p Package) string { return filepath.Join(c.Dir, p.file()) }

// has tells whether the package is there, and the bytes are those of the lock. A file with other bytes is an error:
// somebody should look at it.
func (c *Cache) has(p Package) (bool, error) {
	sum, err := sumFile(c.path(p))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if sum != p.SHA256 {
		return false, fmt.Errorf("%s has SHA-256 %s, the lock file says %s: remove it if it is only cut short; if it comes again, do not trust the mirror", c.path(p), sum, p.SHA256)
	}
	return true, nil
}

// Get makes sure that all of these packages are in the cache, with the bytes of the lock.
func (c *Cache) Get(ctx context.Context, packages []Package) error {
	var missing []Package
	for _, p := range packages {
		there, err := c.has(p)
		if err != nil {
			return err
		}
		if !there {
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if err := c.update(ctx); err != nil {
		return &MissingError{missing, c.Mirror, err}
	}
	var failed []Package
	var why []error
	for _, p := range missing {
		if err := c.download(ctx, p); err != nil {
			failed, why = append(failed, p), append(why, err)
		}
	}
	if len(failed) > 0 {
		return &MissingError{failed, c.Mirror, errors.Join(why...)}
	}
	return nil
}

// download gets one package into a directory of its own first, so that a cut leaves nothing half in the cache.
func (c *Cache) download(ctx context.Context, p Package) error {
	dir, err := os.MkdirTemp(c.Dir, "get-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if _, err := c.apt(ctx, dir, "apt-get", "download", p.Name+":"+p.Arch+"="+p.Version); err != nil {
		return err
	}
	got, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(got) != 1 {
		return fmt.Errorf("apt-get download %s left %d files, want one", p, len(got))
	}
	sum, err := sumFile(got[0])
	if err != nil {
		return err
	}
	if p.SHA256 != "" && sum != p.SHA256 {
		return fmt.Errorf("%s: the mirror has one with SHA-256 %s, the lock file says %s", p, sum, p.SHA256)
	}
	return os.Rename(got[0], c.path(p))
}

// Refresh is the lock of what Debian has now. Signatures are checked by apt against Debian's keys.
func (c *Cache) Refresh(ctx context.Context) (l Lock, err error) {
	if err := c.update(ctx); err != nil {
		return nil, err
	}
	for _, w := range wants() {
		p, err := c.resolve(ctx, w)
		if err != nil {
			return nil, err
		}
		l = append(l, p)
	}
	return l, nil
}

// resolve finds the newest version of a package in its suite, security updates included.
func (c *Cache) resolve(ctx context.Context, w want) (p Package, err error) {
	name := w.name
	if w.arch != "all" {
		name += ":" + w.arch
	}
	show := func(name string) (map[string]string, error) {
		out, err := c.apt(ctx, c.Dir, "apt-cache", "-o", "APT::Default-Release=/^"+w.suite+"/", "show", "--no-all-versions", name)
		if err != nil {
			return nil, err
		}
		return control(out), nil
	}
	f, err := show(name)
	if err != nil {
		return p, err
	}
	if w.meta {
		first, _, _ := strings.Cut(f["Depends"], ",")
		first, _, _ = strings.Cut(strings.TrimSpace(first), " ")
		if f, err = show(first + ":" + w.arch); err != nil {
			return p, err
		}
	}
	p = Package{Name: f["Package"], Version: f["Version"], Arch: f["Architecture"], SHA256: f["SHA256"]}
	if p.Name == "" || p.Version == "" || p.Arch != w.arch || len(p.SHA256) != 64 {
		return p, fmt.Errorf("%s in %s: apt-cache shows no package of which the lock could be written: %+v", name, w.suite, p)
	}
	return p, nil
}

// control reads the first stanza of Debian control data; of a field with several lines only the first.
func control(text []byte) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if strings.TrimSpace(line) == "" {
			break
		}
		if k, v, ok := strings.Cut(line, ":"); ok && line[0] != ' ' {
			m[k] = strings.TrimSpace(v)
		}
	}
	return m
}

// update fetches the lists of packages.
func (c *Cache) update(ctx context.Context) error {
	for _, d := range []string{"lists/partial", "archives/partial"} {
		if err := os.MkdirAll(filepath.Join(c.Dir, "apt", d), 0o755); err != nil {
			return err
		}
	}
	if _, err := os.Stat(keyring); err != nil {
		return fmt.Errorf("the keys of Debian are needed to trust its packages; install debian-archive-keyring: %w", err)
	}
	var list strings.Builder
	for _, suite := range []string{kernelSuite, grubSuite} {
		fmt.Fprintf(&list, "deb [signed-by=%s arch=amd64,arm64] %s %s main\n", keyring, c.Mirror, suite)
		fmt.Fprintf(&list, "deb [signed-by=%s arch=amd64,arm64] %s %s-security main\n", keyring, security(c.Mirror), suite)
	}
	if err := os.WriteFile(filepath.Join(c.Dir, "apt", "sources.list"), []byte(list.String()), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.Dir, "apt", "status"), nil, 0o644); err != nil {
		return err
	}
	_, err := c.apt(ctx, c.Dir, "apt-get", "update", "-q", "--error-on=any")
	return err
}

// security is where the security updates are that belong to a mirror: .../debian-security, and in the archive of the past
// .../archive/debian-security/TIME.
func security(mirror string) string {
	if at := strings.LastIndex(mirror, "/debian"); at >= 0 {
		return mirror[:at] + "/debian-security" + mirror[at+len("/debian"):]
	}
	return mirror
}

// apt runs one of apt's programs with the cache's lists. The machine's proxy settings stay in force.
func (c *Cache) apt(ctx context.Context, dir, program string, args ...string) ([]byte, error) {
	own, err := filepath.Abs(filepath.Join(c.Dir, "apt"))
	if err != nil {
		return nil, err
	}
	var with []string
	for _, o := range []string{
		"Dir::Etc::sourcelist=" + own + "/sources.list", "Dir::Etc::sourceparts=-", "Dir::Etc::preferences=-", "Dir::Etc::preferencesparts=-",
		"Dir::State=" + own, "Dir::State::lists=" + own + "/lists", "Dir::State::status=" + own + "/status", "Dir::Cache=" + own,
		"APT::Architecture=amd64", "APT::Architectures::=amd64", "APT::Architectures::=arm64", "APT::Sandbox::User=", "APT::Update::Post-Invoke-Success=",
		"Acquire::Languages=none", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false", "Acquire::Check-Valid-Until=false",
	} {
		with = append(with, "-o", o)
	}
	cmd := exec.CommandContext(ctx, program, append(with, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return out, nil
}

func sumFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}
