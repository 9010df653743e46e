package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// baseModules are loaded on every box. crc32c_generic comes first: nf_tables, conntrack and ext4 want it by an alias. The trigger of LEDs comes by itself
// only where a driver wants it from the beginning.
var baseModules = strings.Fields(`crc32c_generic nfnetlink_queue nfnetlink_log nft_queue nft_ct nft_limit nft_log nft_nat nft_redir nft_chain_nat nft_reject_inet
	nft_fib_inet nft_meta_bridge nf_conntrack_netlink bridge br_netfilter sch_ingress cls_bpf 8021q ext4 vfat nls_cp437 nls_ascii usb_storage uas sd_mod ledtrig_timer`)

// needed are those without which nothing can be governed.
var needed = []string{"nfnetlink_queue", "nft_queue", "nft_ct", "bridge", "br_netfilter"}

// modules loads the kernel's modules.
type modules struct {
	dir     string
	insert  func(file string) error
	depends map[string][]string
	aliases [][2]string // pattern, module
	loaded  map[string]bool
	failed  map[string]error
}

func openModules(dir string, insert func(string) error) *modules {
	m := &modules{dir: dir, insert: insert, depends: map[string][]string{}, loaded: map[string]bool{}, failed: map[string]error{}}
	for line := range strings.Lines(readString(filepath.Join(dir, "modules.dep"))) {
		k, v, _ := strings.Cut(line, ":")
		m.depends[k] = strings.Fields(v)
	}
	for line := range strings.Lines(readString(filepath.Join(dir, "modules.alias"))) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			m.aliases = append(m.aliases, [2]string{plain(k), v})
		}
	}
	return m
}

// insert gives the kernel a module; one that is there already is no error.
func insert(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// load loads a module after those that it needs. A failure is remembered and not tried again.
func (m *modules) load(name string) error {
	if m.loaded[name] {
		return nil
	}
	if err := m.failed[name]; err != nil {
		return err
	}
	if _, known := m.depends[name]; !known {
		return fmt.Errorf("%s: it is not in the image", name)
	}
	m.failed[name] = fmt.Errorf("%s: it needs itself", name) // overwritten below
	var err error
	for _, d := range m.depends[name] {
		if err = m.load(d); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
			break
		}
	}
	if err == nil {
		if err = m.insert(filepath.Join(m.dir, name+".ko")); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
	}
	if err != nil {
		m.failed[name] = err
		return err
	}
	delete(m.failed, name)
	m.loaded[name] = true
	return nil
}

func (m *modules) base() (errs []error) {
	for _, n := range baseModules {
		if err := m.load(n); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// missing says which of these modules are not loaded; nil: all are.
func (m *modules) missing(names []string) error {
	var errs []error
	for _, n := range names {
		if !m.loaded[n] {
			errs = append(errs, m.load(n))
		}
	}
	return errors.Join(errs...)
}

// coldplug loads what the devices below root ask for by their modalias, and returns how many it loaded.
func (m *modules) coldplug(root string) (n int) {
	var asked []string
	filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "modalias" {
			if a := plain(readString(p)); a != "" && !slices.Contains(asked, a) {
				asked = append(asked, a)
			}
		}
		return nil // what went away meanwhile asks for nothing
	})
	for _, a := range asked {
		for _, e := range m.aliases {
			if m.loaded[e[1]] || m.failed[e[1]] != nil || !matches(e[0], a) {
				continue
			}
			if m.load(e[1]) == nil {
				n++
			}
		}
	}
	return n
}

// plain makes a slash in an alias a letter like others, as the kernel means it, and path.Match does not.
func plain(alias string) string { return strings.ReplaceAll(alias, "/", "_") }

// matches compares a pattern and an alias, both plain; both begin with the name of the bus.
func matches(pattern, alias string) bool {
	if pattern == "" || pattern[0] != alias[0] {
		return false
	}
	ok, err := path.Match(pattern, alias)
	return err == nil && ok
}

// settle loads what devices ask for until no more come: a bus has devices only after its own driver.
func (m *modules) settle(log *slog.Logger) {
	deadline := time.Now().Add(10 * time.Second)
	for quiet := 0; quiet < 3 && time.Now().Before(deadline); {
		if m.coldplug("/sys/devices") > 0 {
			quiet = 0
			continue
		}
		quiet++
		time.Sleep(100 * time.Millisecond) // the kernel looks at new buses by itself, and says when it has found something only to udev
	}
	for _, err := range m.failed {
		log.Warn("module", "err", err)
	}
}
