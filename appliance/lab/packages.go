package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// roots are the Debian packages the lab runs; libraries come along.
var roots = []string{"postfix", "exim4-daemon-light"}

// layout is the number of the way packages are unpacked; a change makes new trees.
const layout = 1

// packageTree is a directory with the packages unpacked: programs and every
// library they need, down to libc, so that nothing of the host is used.
type packageTree struct {
	path string
}

func defaultCache() string {
	if d := os.Getenv("XDG_CACHE_HOME"); d != "" {
		return filepath.Join(d, "mailweir-lab")
	}
	return "/var/cache/mailweir-lab"
}

// debianPackage is one package at the version that apt would install.
type debianPackage struct {
	name, version string
	depends       []string
}

// openTree finds the tree for what apt would install now in the cache, or
// downloads and unpacks it: `apt-get download`, nothing is installed. Where
// apt cannot tell any more, the newest tree that is there does.
func openTree(ctx context.Context, cache string, log *slog.Logger) (*packageTree, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, fmt.Errorf("package cache: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("package cache: %w", err)
	}
	defer lock.Close() // and with it the lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock package cache: %w", err)
	}
	t, err := currentTree(ctx, cache, log)
	if err != nil {
		// No lists yet, or lists that name what the mirror no longer has.
		log.Info("lab: refreshing apt's package lists", "why", err)
		if _, uerr := run(ctx, "", "apt-get", "-qq", "update"); uerr != nil {
			err = errors.Join(err, uerr)
		} else {
			t, err = currentTree(ctx, cache, log)
		}
	}
	if err != nil {
		if t := newestTree(cache); t != nil {
			log.Warn("lab: using the packages unpacked earlier", "tree", t.path, "why", err)
			return t, nil
		}
	}
	return t, err
}

// currentTree is openTree without second chances. Following dependencies
// takes apt seconds, so the answer is kept with a stamp of what apt knows.
func currentTree(ctx context.Context, cache string, log *slog.Logger) (*packageTree, error) {
	stamp := aptStamp()
	noted := filepath.Join(cache, "current")
	if b, err := os.ReadFile(noted); err == nil {
		if was, name, ok := strings.Cut(string(b), " "); ok && was == stamp {
			t := &packageTree{path: filepath.Join(cache, name)}
			if _, err := os.Stat(t.path); err == nil {
				return t, nil
			}
		}
	}
	pkgs, err := resolve(ctx)
	if err != nil {
		return nil, err
	}
	t := &packageTree{path: filepath.Join(cache, "tree-"+key(pkgs))}
	if _, err := os.Stat(t.path); os.IsNotExist(err) {
		log.Info("lab: unpacking Debian's postfix and exim4, installing nothing", "packages", len(pkgs), "into", t.path)
		if err := unpack(ctx, pkgs, t.path); err != nil {
			return nil, err
		}
	}
	return t, replace(noted, stamp+" "+filepath.Base(t.path))
}

// aptStamp changes when apt's package lists or its configuration do.
func aptStamp() string {
	h := sha256.New()
	for _, dir := range []string{"/var/lib/apt/lists", "/etc/apt", "/etc/apt/sources.list.d", "/etc/apt/preferences.d"} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if st, err := e.Info(); err == nil && st.Mode().IsRegular() {
				fmt.Fprintln(h, dir, e.Name(), st.Size(), st.ModTime().UnixNano())
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// key names a set of packages by their versions and by how they are unpacked.
func key(pkgs []debianPackage) string {
	h := sha256.New()
	fmt.Fprintln(h, "layout", layout)
	for _, p := range pkgs {
		fmt.Fprintln(h, p.name, p.version)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

func newestTree(cache string) *packageTree {
	trees, _ := filepath.Glob(filepath.Join(cache, "tree-*"))
	var best *packageTree
	var newest time.Time
	for _, t := range trees {
		if st, err := os.Stat(t); err == nil && !strings.HasSuffix(t, ".new") && st.ModTime().After(newest) {
			best, newest = &packageTree{path: t}, st.ModTime()
		}
	}
	return best
}

// resolve follows the dependencies from the roots through libraries only: what
// the packages want for being installed (debconf, adduser, cron …) is not run.
func resolve(ctx context.Context) ([]debianPackage, error) {
	known := map[string]debianPackage{}
	for level := roots; len(level) > 0; {
		found, err := show(ctx, level)
		if err != nil {
			return nil, err
		}
		var next []string
		for _, p := range found {
			known[p.name] = p
		}
		for _, p := range found {
			for _, d := range p.depends {
				if _, ok := known[d]; !ok && isLibrary(d) && !slices.Contains(next, d) {
					next = append(next, d)
				}
			}
		}
		level = next
	}
	out := make([]debianPackage, 0, len(known))
	for _, p := range known {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b debianPackage) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

func isLibrary(name string) bool {
	return (strings.HasPrefix(name, "lib") || name == "zlib1g") && !strings.Contains(name, "perl") && !strings.Contains(name, "python")
}

// show asks apt for the candidate versions of some packages.
func show(ctx context.Context, names []string) ([]debianPackage, error) {
	out, err := run(ctx, "", "apt-cache", append([]string{"show", "--no-all-versions"}, names...)...)
	if err != nil {
		return nil, err
	}
	var pkgs []debianPackage
	for para := range strings.SplitSeq(strings.TrimSpace(string(out)), "\n\n") {
		var p debianPackage
		for line := range strings.SplitSeq(para, "\n") {
			k, v, _ := strings.Cut(line, ": ")
			switch k {
			case "Package":
				p.name = v
			case "Version":
				p.version = v
			case "Depends", "Pre-Depends":
				p.depends = append(p.depends, dependencies(v)...)
			}
		}
		pkgs = append(pkgs, p)
	}
	for _, n := range names {
		if !slices.ContainsFunc(pkgs, func(p debianPackage) bool { return p.name == n }) {
			return nil, fmt.Errorf("apt knows no package %s", n)
		}
	}
	return pkgs, nil
}

// dependencies takes the names out of a Depends field, the first of alternatives.
func dependencies(field string) []string {
	var out []string
	for clause := range strings.SplitSeq(field, ",") {
		first, _, _ := strings.Cut(clause, "|")
		name, _, _ := strings.Cut(strings.TrimSpace(first), " ")
		name, _, _ = strings.Cut(name, ":")
		out = append(out, name)
	}
	return out
}

// unpack downloads the packages and unpacks them next to where the tree will
// be, then renames: a tree that is there is complete.
func unpack(ctx context.Context, pkgs []debianPackage, path string) (err error) {
	tmp := path + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	debs := filepath.Join(tmp, ".debs")
	if err := os.MkdirAll(debs, 0o755); err != nil {
		return err
	}
	args := []string{"-qq", "-o", "APT::Sandbox::User=root", "download"}
	for _, p := range pkgs {
		args = append(args, p.name+"="+p.version)
	}
	if _, err := run(ctx, debs, "apt-get", args...); err != nil {
		return err
	}
	// One tree for packages of before and after the merge of /usr.
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.MkdirAll(filepath.Join(tmp, "usr", d), 0o755); err != nil {
			return err
		}
		if err := os.Symlink("usr/"+d, filepath.Join(tmp, d)); err != nil {
			return err
		}
	}
	files, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return err
	}
	if len(files) < len(pkgs) {
		return fmt.Errorf("apt-get download brought %d of %d packages", len(files), len(pkgs))
	}
	for _, f := range files {
		if err := unpackOne(ctx, f, tmp); err != nil {
			return err
		}
	}
	if err := finishTree(tmp, debs); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// unpackOne is dpkg-deb -x, but a directory of the package never replaces a
// symbolic link of the tree (lib -> usr/lib), whatever dpkg's age.
func unpackOne(ctx context.Context, deb, into string) error {
	var said bytes.Buffer
	src := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	dst := exec.CommandContext(ctx, "tar", "-x", "-p", "--keep-directory-symlink", "--warning=no-timestamp", "-C", into)
	src.Stderr, dst.Stderr = &said, &said
	pipe, err := src.StdoutPipe()
	if err != nil {
		return err
	}
	dst.Stdin = pipe
	if err := src.Start(); err != nil {
		return err
	}
	err = errors.Join(dst.Run(), src.Wait())
	if err != nil {
		return fmt.Errorf("unpack %s: %w: %s", filepath.Base(deb), err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}

// mountPoints are the directories of the tree that every instance covers with
// its own.
var mountPoints = []string{"etc", "dev", "proc", "tmp", "run", "var/spool", "var/lib", "var/log", "var/mail"}

func finishTree(tree, debs string) error {
	for _, d := range mountPoints {
		if err := os.MkdirAll(filepath.Join(tree, d), 0o755); err != nil {
			return err
		}
	}
	// Documentation is half of what was unpacked.
	for _, d := range []string{debs, filepath.Join(tree, "usr/share")} {
		if err := os.RemoveAll(d); err != nil {
			return err
		}
	}
	return nil
}

// run runs a host command and returns its output; the error carries stderr.
func run(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var said bytes.Buffer
	cmd.Dir, cmd.Stderr = dir, &said
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(said.Bytes()))
	}
	return out, nil
}
