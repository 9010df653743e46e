package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
)

// memory knows what settings were before they were changed. It is written down first, so
// that whoever comes after a crash takes them back, and does not think that
// they were the operator's. Its methods are called with Bridge.mu.
type memory struct {
	file string
	read bool
	was  noted
}

type noted struct {
	Boot   string            `json:"boot"` // all settings go with it
	Bridge string            `json:"bridge"`
	Index  int               `json:"index"` // another one of that name begins anew
	Was    map[string]string `json:"was"`
}

// note writes down what a setting of b is now, unless that is known.
func (m *memory) note(b *Bridge, name, v string) error {
	m.recall(b)
	if _, known := m.was.Was[name]; known {
		return nil
	}
	if m.was.Was == nil {
		m.was = noted{Boot: boot(), Bridge: b.name, Index: b.index, Was: map[string]string{}}
	}
	m.was.Was[name] = v
	if m.file == "" {
		return nil
	}
	text, err := json.Marshal(m.was)
	if err == nil {
		err = os.WriteFile(m.file, append(text, '\n'), 0o600)
	}
	if err != nil {
		delete(m.was.Was, name)
		return fmt.Errorf("note what %s of %s was: %w", name, b.name, err)
	}
	return nil
}

// recall reads what an earlier process noted, if it is still about this bridge.
func (m *memory) recall(b *Bridge) {
	if !m.read && m.file != "" {
		m.read = true
		text, err := os.ReadFile(m.file)
		if err == nil && json.Unmarshal(text, &m.was) != nil {
			m.was = noted{}
		}
	}
	if m.was.Boot != boot() || m.was.Bridge != b.name || m.was.Index != b.index {
		m.was = noted{}
	}
}

func (m *memory) changed() []string { return slices.Collect(maps.Keys(m.was.Was)) }

// restore takes the settings back.
func (m *memory) restore(b *Bridge) error {
	if b.index == 0 {
		return nil // it is gone, and its settings with it; a note is found to be old
	}
	m.recall(b)
	var errs []error
	for name, v := range m.was.Was {
		var err error
		switch name {
		case "src_valid_mark":
			err = conf4(b.name, name).write(v)
		default:
			for _, c := range calls {
				if c.name == name {
					err = b.setOption(c.attribute, v[0]-'0')
				}
			}
		}
		if err != nil && !gone(err) {
			errs = append(errs, fmt.Errorf("set %s of %s to %s again: %w", name, b.name, v, err))
		}
	}
	m.was = noted{}
	if m.file != "" {
		if err := os.Remove(m.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// boot is the kernel's name for its life.
func boot() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // "": all lives look the same, and the bridge's index tells
	return strings.TrimSpace(string(text))
}
