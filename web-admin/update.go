package webadmin

import (
	"context"
	"io"
)

// Updater renews the box as a whole, or resets it, where it was started from mailweir's own image.
type Updater interface {
	// FromImage tells whether it was. Elsewhere nothing of this is shown or answered, and the other methods are not called.
	FromImage() bool
	// Firmware is what runs, what is in the slots, and what came of the last update. It reads the disk: only who asks for it pays for that.
	Firmware() Firmware
	// Install writes an update into the slot that does not run while it comes: it keeps no more than a block of it. Without an error it goes on
	// trial at the next start. With one, the outcome's state is [UpdateRefused] or [UpdateStopped] where it came to that. [ErrBusy] while another one is
	// written. It writes an AUDIT record.
	Install(update io.Reader, who string) (UpdateOutcome, error)
	// Reboot has the whole box start again, and no mail passes meanwhile. It returns at once, and writes an AUDIT record before.
	Reboot(who string) error
	// FactoryReset has the box start again and erase all its data. An AUDIT record says so before, and nothing is erased until every collector has that, or ctx
	// has ended and anyway is true. Without an error and with each of the results OK, or anyway, it happens; otherwise another record says that it does not.
	FactoryReset(ctx context.Context, anyway bool, who string) (told []SyslogResult, err error)
}

// What became of an update, as records have it, where a page has words of its own for it.
const (
	UpdateWaits      = "waits"       // written, and on trial from the next start on
	UpdateCommitted  = "committed"   // it came up healthy
	UpdateRolledBack = "rolled_back" // it did not, and what was before runs again
	UpdateRefused    = "refused"     // nothing was written
	UpdateStopped    = "stopped"     // the idle slot was written in part
	UpdateFellBack   = "fell_back"   // no update: the active slot could not be started
)

// Firmware is what the box runs and could run: GET /api/v1/update.
type Firmware struct {
	Running Release        `json:"running"`
	Board   string         `json:"board"`
	Keys    int            `json:"keys"`  // whose updates it takes; 0: it takes none
	Slots   []Slot         `json:"slots"` // the two of them
	Last    *UpdateOutcome `json:"last"`  // null: there was no update
	Fault   string         `json:"fault"` // why the slots cannot be read; empty: they can
}

// Release is one version of the firmware.
type Release struct {
	Version string `json:"version"` // for people; empty: not known
	Build   int64  `json:"build"`   // which of two is the newer
}

// Slot is one of the two places on the disk that the box is started from.
type Slot struct {
	Name    string  `json:"slot"`
	Holds   Release `json:"holds"`
	Fault   string  `json:"fault"` // why nothing in it could be started; empty: it could
	Runs    bool    `json:"runs"`
	Active  bool    `json:"active"`   // it is the one that is started
	OnTrial bool    `json:"on_trial"` // from the next start on or, if it runs, now
	Tries   int     `json:"tries"`    // starts that are left of its trial
}

// UpdateOutcome is what came of an update.
type UpdateOutcome struct {
	State string  `json:"state"`
	From  Release `json:"from"`
	To    Release `json:"to"`
	Slot  string  `json:"slot"`
	At    Time    `json:"at"`
	Why   string  `json:"why"`
	Text  string  `json:"text"` // all of it in a line
}
