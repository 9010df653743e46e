package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor/store"
	"github.com/mailweir/mailweir/governor/subscriber"
)

// keeper writes what is neither budget nor record: who holds which address and did
// hold it, which plans the operator chose, and the cases. It saves when the budgets
// are saved, off the packet path, and at once after a person did something.
type keeper struct {
	dir    *subscriber.Directory
	cases  *casebook
	store  *store.Store
	now    func() time.Time
	log    *slog.Logger
	health *health

	saving sync.Mutex // one save at a time; held over the disk
	disk   disk
}

// The shelves of the store that hold it.
const (
	directoryShelf = "directory"
	casesShelf     = "cases"
)

// keepBatch is how many changes one transaction holds.
const keepBatch = 1000

// Run saves once a second until ctx ends. The last save is the caller's.
func (k *keeper) Run(ctx context.Context) error {
	t := time.NewTicker(saveEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			_ = k.saveNow() // which has told
		}
	}
}

// saveNow writes everything that changed since it was last written, and waits for
// the disk. The error has been told already; what was not saved stays in memory and
// is tried again within a second.
func (k *keeper) saveNow() error {
	err := k.save()
	if err != nil {
		if k.health.begin(records.HealthFacts{What: "keeper", Detail: err.Error()}) {
			k.log.Error("save addresses and cases; what was not saved stays in memory and is tried again each second", "err", err)
		}
	} else if k.health.end("keeper") {
		k.log.Info("addresses and cases are saved again")
	}
	return err
}

func (k *keeper) save() error {
	k.saving.Lock()
	defer k.saving.Unlock()
	k.disk.begins(k.now())
	err := errors.Join(k.saveDirectory(), k.saveCases())
	k.disk.ends(err)
	return err
}

// saveAddresses writes what changed of addresses and plans, and waits for the disk:
// for what somebody was promised, which no case that cannot be written breaks.
func (k *keeper) saveAddresses() error {
	k.saving.Lock()
	defer k.saving.Unlock()
	return k.saveDirectory()
}

func (k *keeper) saveDirectory() error {
	for {
		batch := k.dir.Pending(keepBatch)
		if len(batch) == 0 {
			return nil
		}
		changes := make([]store.Change, len(batch))
		for i, s := range batch {
			changes[i] = store.Change{Key: s.Key, Value: s.Value, Delete: s.Value == nil}
		}
		if err := k.store.Shelf(directoryShelf).Apply(changes); err != nil {
			k.dir.Redo(batch)
			return fmt.Errorf("save who holds which address: %w", err)
		}
		if len(batch) < keepBatch {
			return nil
		}
	}
}

// saveCases writes the cases that changed. One that cannot be written holds up none
// of the others.
func (k *keeper) saveCases() error {
	var failed error
	ids := k.cases.pending()
	for i := 0; i < len(ids); i += keepBatch {
		changes, bad, err := k.cases.changes(ids[i:min(i+keepBatch, len(ids))])
		k.cases.redo(bad)
		failed = cmp.Or(failed, err)
		if err := k.store.Shelf(casesShelf).Apply(changes); err != nil {
			k.cases.redo(ids[i:])
			return fmt.Errorf("save cases: %w", err)
		}
	}
	return failed
}

// recall brings back what the last life saved; bindings wait for the list. Entries
// that cannot be read are left out and said. there is called when the cases are.
func (k *keeper) recall(now time.Time, there func()) error {
	more, err := k.cases.load(k.store.Shelf(casesShelf).Range)
	if err != nil {
		return fmt.Errorf("load cases: %w", err)
	}
	there()
	lost, err := k.dir.Recall(k.store.Shelf(directoryShelf).Range, now)
	if err != nil {
		return err
	}
	if spoilt := int(k.store.Spoilt()); lost+more+spoilt > 0 {
		k.log.Error("entries of the database were damaged and are forgotten", "addresses", lost, "cases", more, "either", spoilt)
		k.health.tell(records.HealthFacts{What: "store", Count: uint64(lost + more + spoilt),
			Detail: fmt.Sprintf("damaged entries are forgotten: %d about who held an address, %d cases, %d of either", lost, more, spoilt)})
	}
	return nil
}
