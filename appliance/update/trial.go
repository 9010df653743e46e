package update

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"io"

	"github.com/mailweir/mailweir/image/layout"
)

// Start is what GRUB's state says of a start.
type Start int

// The kinds of starts.
const (
	Ordinary Start = iota
	OnTrial        // of a slot that is to be committed or given up
	GivenUp        // of the slot before, since the one on trial was given up
	Fallback       // of the other slot, since GRUB could not start the active one
)

// Look says what kind of start it was, and why where that needs saying.
func Look(env layout.Env, running string) (s Start, why string) {
	switch {
	case env.Next == running && running != "":
		return OnTrial, ""
	case env.Next != "":
		return GivenUp, fmt.Sprintf("GRUB could not start slot %s", env.Next)
	case env.Failed != "" && env.Failed != running:
		return GivenUp, fmt.Sprintf("slot %s was started and did not come up healthy", env.Failed)
	case env.Active != running && running != "":
		return Fallback, fmt.Sprintf("GRUB could not start slot %s", env.Active)
	}
	return Ordinary, ""
}

// Commit makes the slot that runs the one that is started from now on.
func (b *Box) Commit() error { return b.Env.Write(layout.Env{Active: b.Running}) }

// GiveUp has the next start be of the slot before this one.
func (b *Box) GiveUp() error { return b.Env.Write(layout.Env{Active: b.Idle(), Failed: b.Running}) }

// Slot is what stands in one.
type Slot struct {
	Name    string       `json:"slot"`
	About   layout.About `json:"image"`
	Runs    bool         `json:"runs"`
	Active  bool         `json:"active"`          // it is the one that is started
	Tries   int          `json:"tries,omitempty"` // it is on trial, with so many starts left
	OnTrial bool         `json:"on_trial"`
	Fault   string       `json:"fault,omitempty"` // there is none in it that could be started
}

// Slots says what is in both. The sums of the files are GRUB's to check, at each start.
func (b *Box) Slots() ([]Slot, error) {
	env, err := b.Env.Read()
	if err != nil {
		return nil, fmt.Errorf("read GRUB's state: %w", err)
	}
	var all []Slot
	for _, name := range layout.Slots {
		s := Slot{Name: name, Runs: name == b.Running, Active: name == env.Active, OnTrial: name == env.Next}
		if s.OnTrial {
			s.Tries = env.Tries
		}
		if s.About, err = b.about(name); err != nil {
			s.Fault = err.Error()
		}
		all = append(all, s)
	}
	return all, nil
}

// about reads the manifest that a slot begins with.
func (b *Box) about(slot string) (a layout.About, err error) {
	p, err := b.Open(slot)
	if err != nil {
		return a, err
	}
	defer p.Close()
	t := tar.NewReader(io.NewSectionReader(p, 0, layout.SlotBytes))
	h, err := t.Next()
	if err != nil || h.Name != layout.SlotManifest {
		return a, fmt.Errorf("it is empty or was written in part")
	}
	if err := json.NewDecoder(io.LimitReader(t, 64<<10)).Decode(&a); err != nil {
		return a, fmt.Errorf("its %s: %w", layout.SlotManifest, err)
	}
	return a, nil
}
