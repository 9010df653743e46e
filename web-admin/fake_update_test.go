package webadmin

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"
)

// aFirmware is a box that runs build 10 from slot a and was updated to it.
func aFirmware() Firmware {
	return Firmware{Running: Release{"v10", 10}, Board: "amd64", Keys: 2, Slots: []Slot{{Name: "a", Holds: Release{"v10", 10}, Runs: true, Active: true}, {Name: "b", Holds: Release{"v9", 9}}},
		Last: &UpdateOutcome{State: UpdateCommitted, From: Release{"v9", 9}, To: Release{"v10", 10}, Slot: "a", At: ago(26 * time.Hour), Text: "version v10 (build 10) came up healthy and stays"}}
}

// waitingFirmware is it with an update that goes on trial.
func waitingFirmware() Firmware {
	f := aFirmware()
	f.Slots[1] = Slot{Name: "b", Holds: Release{"v11", 11}, OnTrial: true, Tries: 2}
	f.Last = &UpdateOutcome{State: UpdateWaits, From: f.Running, To: Release{"v11", 11}, Slot: "b", At: ago(0), Text: "version v11 (build 11) is in slot b and goes on trial at the next start"}
	return f
}

// triedFirmware is it when that runs.
func triedFirmware() Firmware {
	f := waitingFirmware()
	f.Running = Release{"v11", 11}
	f.Slots[0].Runs, f.Slots[1].Runs, f.Slots[1].Tries = false, true, 1
	return f
}

func (f *fakeBox) FromImage() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.foreign
}

func (f *fakeBox) Firmware() Firmware {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.firmware.Board == "" {
		return aFirmware()
	}
	return f.firmware
}

// An update of the fake box begins with what is to become of it; what follows is as long as it likes.
const (
	soundUpdate   = "sound "
	strangeUpdate = "strange "
	damagedUpdate = "damaged "
	whyStrange    = "the signature is not by a key that this image trusts (it is by key 0123456789ABCDEF); nothing was written"
	whyDamaged    = "slot b: the file is damaged: the slot has SHA-256 00, the signed manifest says 01"
	busyUpdate    = "busy "
)

// Install counts what comes, and keeps none of it.
func (f *fakeBox) Install(update io.Reader, who string) (UpdateOutcome, error) {
	head := make([]byte, 16)
	n, err := io.ReadFull(update, head)
	for block := make([]byte, 4096); err == nil; {
		f.mu.Lock()
		f.came += n
		f.mu.Unlock()
		n, err = update.Read(block)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.came += n
	o := UpdateOutcome{From: Release{"v10", 10}, To: Release{"v11", 11}, Slot: "b", At: ago(0)}
	fails := func(state, why string) (UpdateOutcome, error) {
		o.State, o.Why, o.Text = state, why, "version v11 (build 11) was "+state+": "+why
		f.by = append(f.by, who+" update "+state)
		return o, fmt.Errorf("%s", why)
	}
	switch {
	case err != io.EOF && err != io.ErrUnexpectedEOF:
		return fails(UpdateStopped, "slot b: "+err.Error())
	case bytes.HasPrefix(head, []byte(strangeUpdate)):
		return fails(UpdateRefused, whyStrange)
	case bytes.HasPrefix(head, []byte(damagedUpdate)):
		return fails(UpdateStopped, whyDamaged)
	case bytes.HasPrefix(head, []byte(busyUpdate)):
		return UpdateOutcome{}, ErrBusy
	case !bytes.HasPrefix(head, []byte(soundUpdate)):
		return UpdateOutcome{}, fmt.Errorf("input/output error")
	}
	f.firmware = waitingFirmware()
	f.by = append(f.by, fmt.Sprintf("%s update of %d bytes", who, f.came))
	return *f.firmware.Last, nil
}

// FactoryReset is told to the collectors that are up, and not to the others.
func (f *fakeBox) FactoryReset(_ context.Context, anyway bool, who string) (told []SyslogResult, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failing != nil {
		return nil, f.failing
	}
	all := true
	for _, t := range f.status.Syslog {
		told = append(told, SyslogResult{URL: t.URL, OK: t.Up, Error: t.LastError})
		all = all && t.Up
	}
	if all || anyway {
		f.by = append(f.by, who+" factory reset")
	}
	return told, nil
}

func (f *fakeBox) Reboot(who string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failing != nil {
		return f.failing
	}
	f.by = append(f.by, who+" reboot")
	return nil
}
