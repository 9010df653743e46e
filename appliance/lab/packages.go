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

// PackageSet is what is unpacked into one tree.
type PackageSet struct {
	// Name is the set's own place in the cache; "" is the lab's.
	Name string
	// Roots are the Debian packages whose programs are run; libraries come along.
	Roots []string
	// Backports takes Debian's backports into account as well, by lists of packages that are kept in the cache: the
	// machine's own are not changed.
	Backports bool
}

// mailServers are what the lab itself runs. OpenSMTPD comes apart, for those who want it.
var mailServers = PackageSet{Roots: []string{"postfix", "exim4-daemon-light"}}

// layout is the number of the way packages are unpacked; a change makes new trees.
const layout = 1

// packageTree is a directory with the packages unpacked: programs and every
// library they need, down to libc, so that nothing of the host is used.
type packageTree struct {
	path string
}

// packager finds or makes the tree of a set.
type packager struct {
	PackageSet
	cache string // the set's own
	lists string // apt's lists, where they are not the machine's
	apt   []string
	log   *slog.Logger
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
func openTree(ctx context.Context, cache string, set PackageSet, log *slog.Logger) (*packageTree, error) {
	p := &packager{PackageSet: set, cache: filepath.Join(cache, set.Name), log: log}
	if err := os.MkdirAll(p.cache, 0o755); err != nil {
		return nil, fmt.Errorf("package cache: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(p.cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("package cache: %w", err)
	}
	defer lock.Close() // and with it the lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock package cache: %w", err)
	}
	if set.Backports {
		if err := p.ownLists(ctx); err != nil {
			return nil, err
		}
	}
	t, err := p.currentTree(ctx)
	if err != nil {
		// No lists yet, or lists that name what the mirror no longer has.
		log.Info("lab: refreshing apt's package lists", "why", err)
		if _, uerr := run(ctx, "", "apt-get", append(p.apt, "-qq", "update")...); uerr != nil {
			err = errors.Join(err, uerr)
		} else {
			t, err = p.currentTree(ctx)
		}
	}
	if err != nil {
		if t := newestTree(p.cache); t != nil {
			log.Warn("lab: using the packages unpacked earlier", "tree", t.path, "why", err)
			return t, nil
		}
	}
	return t, err
}

// currentTree is openTree without second chances. Following dependencies
// takes apt seconds, so the answer is kept with a stamp of what apt knows.
func (p *packager) currentTree(ctx context.Context) (*packageTree, error) {
	stamp := p.stamp()
	noted := filepath.Join(p.cache, "current")
	if b, err := os.ReadFile(noted); err == nil {
		if was, name, ok := strings.Cut(string(b), " "); ok && was == stamp {
			t := &packageTree{path: filepath.Join(p.cache, name)}
			if _, err := os.Stat(t.path); err == nil {
				return t, nil
			}
		}
	}
	pkgs, err := p.resolve(ctx)
	if err != nil {
		return nil, err
	}
	t := &packageTree{path: filepath.Join(p.cache, "tree-"+key(pkgs))}
	if _, err := os.Stat(t.path); os.IsNotExist(err) {
		p.log.Info("lab: unpacking packages of Debian, installing nothing", "for", strings.Join(p.Roots, " "), "packages", len(pkgs), "into", t.path)
		if err := p.unpack(ctx, pkgs, t.path); err != nil {
			return nil, err
		}
	}
	return t, replace(noted, stamp+" "+filepath.Base(t.path))
}

// stamp changes when apt's package lists or its configuration do, or what is wanted.
func (p *packager) stamp() string {
	h := sha256.New()
	fmt.Fprintln(h, p.Roots)
	dirs := []string{"/var/lib/apt/lists", "/etc/apt", "/etc/apt/sources.list.d", "/etc/apt/preferences.d"}
	if p.lists != "" {
		dirs = append(dirs[1:], p.lists)
	}
	for _, dir := range dirs {
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
func (p *packager) resolve(ctx context.Context) ([]debianPackage, error) {
	known := map[string]debianPackage{}
	for level := p.Roots; len(level) > 0; {
		found, err := p.show(ctx, level)
		if err != nil {
			return nil, err
		}
		var next []string
		for _, f := range found {
			known[f.name] = f
		}
		for _, f := range found {
			for _, d := range f.depends {
				if _, ok := known[d]; !ok && isLibrary(d) && !slices.Contains(next, d) {
					next = append(next, d)
				}
			}
		}
		level = next
	}
	out := make([]debianPackage, 0, len(known))
	for _, k := range known {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b debianPackage) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

func isLibrary(name string) bool {
	return (strings.HasPrefix(name, "lib") || name == "zlib1g") && !strings.Contains(name, "perl") && !strings.Contains(name, "python")
}

// show asks apt for the candidate versions of some packages.
func (p *packager) show(ctx context.Context, names []string) ([]debianPackage, error) {
	out, err := run(ctx, "", "apt-cache", append(append(p.apt, "show", "--no-all-versions"), names...)...)
	if err != nil {
		return nil, err
	}
	var pkgs []debianPackage
	for para := range strings.SplitSeq(strings.TrimSpace(string(out)), "\n\n") {
		var found debianPackage
		for line := range strings.SplitSeq(para, "\n") {
			k, v, _ := strings.Cut(line, ": ")
			switch k {
			case "Package":
				found.name = v
			case "Version":
				found.version = v
			case "Depends", "Pre-Depends":
				found.depends = append(found.depends, dependencies(v)...)
			}
		}
		pkgs = append(pkgs, found)
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
func (p *packager) unpack(ctx context.Context, pkgs []debianPackage, path string) (err error) {
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
	args := append(p.apt, "-qq", "-o", "APT::Sandbox::User=root", "download")
	for _, k := range pkgs {
		args = append(args, k.name+"="+k.version)
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
	// Some programs keep to the old name of /run, which a package brings that nothing else is needed of.
	if err := os.Symlink("../run", filepath.Join(tree, "var/run")); err != nil && !os.IsExist(err) {
		return err
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
