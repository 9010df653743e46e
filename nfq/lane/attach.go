package lane

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// hold is the program at one interface.
type hold struct {
	device
	detach func() error         // what is gone by then (the interface was deleted) is not missed
	there  func() (bool, error) // false: somebody took it away, or the interface is another one by now
}

// attach puts the program to all interfaces.
func attach(want string, ifs []device, coll *ebpf.Collection) (how string, holds []hold, err error) {
	// Whatever an earlier process left behind would work on the same packets beside us.
	c, err := dialTC()
	if err != nil {
		return "", nil, err
	}
	if want != "clsact" {
		holds, err = attachTCX(ifs, coll)
		if err == nil {
			err = c.sweep(ifs)
			if err != nil {
				return "", nil, errors.Join(err, undo(holds), c.close())
			}
			return "tcx", holds, c.close()
		}
		if want == "tcx" {
			return "", nil, errors.Join(err, c.close())
		}
	}
	tcx := err
	holds, err = attachClsact(c, ifs, coll)
	if err != nil {
		if tcx != nil {
			err = fmt.Errorf("%w; and clsact does not work: %w", tcx, err)
		}
		return "", nil, errors.Join(err, c.close())
	}
	return "clsact", append(holds, hold{detach: c.close}), nil
}

func undo(holds []hold) error {
	var errs []error
	for _, h := range holds {
		errs = append(errs, h.detach())
	}
	return errors.Join(errs...)
}

// Taken names the interfaces at which the program is not any more, though it was attached
// and nobody called Detach: somebody took it away, or the interface was made anew. Detach
// and Attach put it back.
func (l *Lane) Taken() (names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.holds {
		if h.there == nil {
			continue
		}
		if there, err := h.there(); err == nil && !there { // after an error nobody knows; the next look tells
			names = append(names, h.name)
		}
	}
	return names
}

func attachTCX(ifs []device, coll *ebpf.Collection) (holds []hold, err error) {
	for _, d := range ifs {
		for _, name := range d.programs() {
			l, err := link.AttachTCX(link.TCXOptions{Interface: d.index, Program: coll.Programs[name], Attach: ebpf.AttachTCXIngress})
			if errors.Is(err, ebpf.ErrNotSupported) {
				return nil, errors.Join(fmt.Errorf("this kernel has no TCX (Linux 6.6): %w", err), undo(holds))
			}
			if err != nil {
				return nil, errors.Join(fmt.Errorf("attach to interface %s: %w", d.name, err), undo(holds))
			}
			detach := func() error {
				if err := l.Close(); err != nil {
					return fmt.Errorf("fast lane: detach from interface %s: %w", d.name, err)
				}
				return nil
			}
			there := func() (bool, error) {
				info, err := l.Info()
				if err != nil {
					return false, err
				}
				at := info.TCX()
				return at != nil && int(at.Ifindex) == d.index, nil
			}
			holds = append(holds, hold{d, detach, there})
		}
	}
	return holds, nil
}
