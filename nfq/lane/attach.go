package lane

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// attach puts the program to all interfaces. detach takes it from all again; what is gone by
// then (the interface was deleted) is not missed.
func attach(want string, ifs []device, coll *ebpf.Collection) (how string, detach []func() error, err error) {
	// Whatever an earlier process left behind would work on the same packets beside us.
	c, err := dialTC()
	if err != nil {
		return "", nil, err
	}
	if want != "clsact" {
		detach, err = attachTCX(ifs, coll)
		if err == nil {
			err = c.sweep(ifs)
			if err != nil {
				return "", nil, errors.Join(err, undo(detach), c.close())
			}
			return "tcx", detach, c.close()
		}
		if want == "tcx" || !errors.Is(err, ebpf.ErrNotSupported) {
			return "", nil, errors.Join(err, c.close())
		}
	}
	detach, err = attachClsact(c, ifs, coll)
	if err != nil {
		if want == "" {
			err = fmt.Errorf("this kernel has no TCX (Linux 6.6), and clsact does not work: %w", err)
		}
		return "", nil, errors.Join(err, c.close())
	}
	return "clsact", append(detach, c.close), nil
}

func undo(detach []func() error) error {
	var errs []error
	for _, f := range detach {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

func attachTCX(ifs []device, coll *ebpf.Collection) (detach []func() error, err error) {
	for _, d := range ifs {
		for _, name := range d.programs() {
			l, err := link.AttachTCX(link.TCXOptions{Interface: d.index, Program: coll.Programs[name], Attach: ebpf.AttachTCXIngress})
			if errors.Is(err, ebpf.ErrNotSupported) {
				return nil, errors.Join(fmt.Errorf("this kernel has no TCX (Linux 6.6): %w", err), undo(detach))
			}
			if err != nil {
				return nil, errors.Join(fmt.Errorf("attach to interface %s: %w", d.name, err), undo(detach))
			}
			detach = append(detach, func() error {
				if err := l.Close(); err != nil {
					return fmt.Errorf("fast lane: detach from interface %s: %w", d.name, err)
				}
				return nil
			})
		}
	}
	return detach, nil
}
