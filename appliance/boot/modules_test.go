package boot

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// kernel is a directory with modules, and the order in which they were inserted.
func kernel(t *testing.T, dep, alias string, refuse string) (m *modules, inserted *[]string) {
	dir := t.TempDir()
	for name, text := range map[string]string{"modules.dep": dep, "modules.alias": alias} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	inserted = new([]string)
	return openModules(dir, func(file string) error {
		name := strings.TrimSuffix(filepath.Base(file), ".ko")
		if name == refuse {
			return errors.New("no such symbol")
		}
		*inserted = append(*inserted, name)
		return nil
	}), inserted
}

func TestModulesAreLoadedAfterWhatTheyNeed(t *testing.T) {
	m, inserted := kernel(t, "nfnetlink: \nnf_tables: nfnetlink crc32c_generic\ncrc32c_generic: \nnft_queue: nf_tables nfnetlink\n", "", "")
	if err := m.load("nft_queue"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"nfnetlink", "crc32c_generic", "nf_tables", "nft_queue"}; !slices.Equal(*inserted, want) {
		t.Errorf("%v, want %v", *inserted, want)
	}
}

func TestAModuleThatIsRefusedKeepsOthersFromNothing(t *testing.T) {
	m, inserted := kernel(t, "a: \nb: a\nc: \nd: d2\nd2: d\n", "", "a")
	if err := m.load("b"); err == nil || err.Error() != "b: a: no such symbol" {
		t.Errorf("b: %v", err)
	}
	if err := m.load("c"); err != nil || !slices.Equal(*inserted, []string{"c"}) {
		t.Errorf("c: %v, %v", err, *inserted)
	}
	if err := m.load("d"); err == nil {
		t.Error("two that need each other were loaded")
	}
	if err := m.missing([]string{"b", "c", "x"}); err == nil || err.Error() != "b: a: no such symbol\nx: it is not in the image" {
		t.Errorf("missing: %v", err)
	}
}

func TestDevicesGetWhatTheyAskFor(t *testing.T) {
	m, inserted := kernel(t, "igb: \nr8169: \nleds: \n", "pci:v00008086d00001521sv*sd*bc*sc*i* igb\npci:v000010ECd00008168sv*sd*bc*sc*i* r8169\nof:N*T*Cleds/gpio leds\n", "")
	sys := t.TempDir()
	for dir, alias := range map[string]string{
		"pci0000:00/0000:00:02.0": "pci:v00008086d00001521sv00008086sd00000001bc02sc00i00\n",
		"platform/led":            "of:NledT(null)Cleds/gpio\n",
		"platform/other":          "\n",
	} {
		if err := os.MkdirAll(filepath.Join(sys, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sys, dir, "modalias"), []byte(alias), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n := m.coldplug(sys); n != 2 {
		t.Errorf("%d loaded, want 2", n)
	}
	slices.Sort(*inserted)
	if !slices.Equal(*inserted, []string{"igb", "leds"}) {
		t.Errorf("%v", *inserted)
	}
	if n := m.coldplug(sys); n != 0 {
		t.Errorf("the second look loaded %d", n)
	}
}
