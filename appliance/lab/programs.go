package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Programs are Debian packages that were unpacked, not installed, to run programs of.
type Programs struct {
	// Root is the tree: Root/usr/bin and so on. Nothing in it is to be changed.
	Root   string
	loader string
	paths  []string // of libraries
}

// Unpack finds the packages in the cache, or downloads and unpacks them. Another run finds them there.
func (l *Lab) Unpack(ctx context.Context, set PackageSet) (*Programs, error) {
	l.unpack.Lock()
	defer l.unpack.Unlock()
	t, err := openTree(ctx, l.cache, set, l.log)
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", strings.Join(set.Roots, ", "), err)
	}
	p := &Programs{Root: t.path}
	for _, where := range []string{"lib64/ld-linux*.so.*", "lib/ld-linux*.so.*", "lib/*/ld-linux*.so.*"} {
		if found, _ := filepath.Glob(filepath.Join(t.path, where)); len(found) > 0 { // the pattern is good
			p.loader = found[0]
			break
		}
	}
	p.paths, _ = filepath.Glob(filepath.Join(t.path, "usr/lib/*-linux-gnu*"))
	p.paths = append(p.paths, filepath.Join(t.path, "usr/lib"))
	if p.loader == "" {
		return nil, fmt.Errorf("unpack %s: no loader of programs is among the packages", strings.Join(set.Roots, ", "))
	}
	return p, nil
}

// Libraries are the directories with the packages' libraries; more stands for such that a package keeps elsewhere, below
// the root.
func (p *Programs) Libraries(more ...string) []string {
	out := slices.Clone(p.paths)
	for _, m := range more {
		out = append(out, filepath.Join(p.Root, m))
	}
	return out
}

// Program is one that is to be run.
type Program struct {
	Path      string   // below the root, or absolute for one that was built against the packages
	Libraries []string // where it has libraries of its own, below the root
	Preload   string   // a library that goes before all others; absolute
}

// Command is Namespace.Command for a program of the packages: by their own loader and with their own libraries.
func (p *Programs) Command(ctx context.Context, ns *Namespace, prog Program, args ...string) *exec.Cmd {
	path := prog.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(p.Root, path)
	}
	loader := []string{"--library-path", strings.Join(p.Libraries(prog.Libraries...), ":")}
	if prog.Preload != "" {
		loader = append(loader, "--preload", prog.Preload)
	}
	return ns.Command(ctx, p.loader, slices.Concat(loader, []string{path}, args)...)
}

// ownLists makes apt look at lists of packages in the cache: those of the Debian that the machine is configured for, and
// of its backports. A machine that is configured for none, or for another distribution, keeps its own.
func (p *packager) ownLists(ctx context.Context) error {
	out, err := run(ctx, "", "apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages")
	if err != nil {
		return err
	}
	text, backports := sources(string(out))
	if text == "" {
		return nil
	}
	dir := filepath.Join(p.cache, "apt")
	p.lists = filepath.Join(dir, "lists")
	list := filepath.Join(dir, "sources.list")
	err = errors.Join(os.MkdirAll(filepath.Join(p.lists, "partial"), 0o755), os.MkdirAll(filepath.Join(dir, "cache", "archives", "partial"), 0o755))
	if err != nil {
		return err
	}
	if was, err := os.ReadFile(list); err != nil || string(was) != text {
		if err := replace(list, text); err != nil {
			return err
		}
	}
	for _, set := range []string{
		"Dir::Etc::sourcelist=" + list, "Dir::Etc::sourceparts=-", "Dir::State::lists=" + p.lists, "Dir::Cache=" + filepath.Join(dir, "cache"),
		"APT::Sandbox::User=root", "APT::Default-Release=" + backports, "Acquire::Languages=none", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
	} {
		p.apt = append(p.apt, "-o", set)
	}
	p.apt = slices.Clip(p.apt)
	return nil
}

// keyring is where Debian keeps the keys that its packages are signed with.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// sources is a list for apt with what targets says that it has of Debian, a line "ORIGIN URI CODENAME COMPONENT" each,
// and the backports beside the release. What is taken from there fits together with the rest from there.
func sources(targets string) (list, backports string) {
	signed := ""
	if _, err := os.Stat(keyring); err == nil {
		signed = "[signed-by=" + keyring + "] "
	}
	var lines []string
	add := func(uri, suite, component string) {
		if line := fmt.Sprintf("deb %s%s %s %s\n", signed, uri, suite, component); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	for line := range strings.Lines(targets) {
		f := strings.Fields(line)
		if len(f) != 4 || f[0] != "Debian" {
			continue
		}
		add(f[1], f[2], f[3])
		if release, kind, _ := strings.Cut(f[2], "-"); kind == "" && f[3] == "main" {
			backports = release + "-backports"
			add(f[1], backports, "main")
		}
	}
	if backports == "" {
		return "", ""
	}
	return strings.Join(lines, ""), backports
}
