package ntp

import (
	"fmt"
	"math/bits"
	"time"

	"golang.org/x/sys/unix"
)

// Kernel is the machine's clock, with the kernel's own phase-locked loop (adjtimex(2)): it also learns how fast the crystal runs.
type Kernel struct{}

// Step sets the clock.
func (Kernel) Step(by time.Duration) error {
	t := unix.Timex{Modes: unix.ADJ_SETOFFSET | unix.ADJ_NANO | unix.ADJ_STATUS | unix.ADJ_MAXERROR | unix.ADJ_ESTERROR, Status: unix.STA_PLL}
	seconds := by / time.Second
	rest := by % time.Second
	if rest < 0 { // the kernel wants nanoseconds of 0 and more
		seconds, rest = seconds-1, rest+time.Second
	}
	long(&t.Time.Sec, int64(seconds))
	long(&t.Time.Usec, int64(rest))
	if _, err := unix.ClockAdjtime(unix.CLOCK_REALTIME, &t); err != nil {
		return fmt.Errorf("step the clock by %v: %w", by, err)
	}
	return nil
}

// Slew has the loop take an offset of at most half a second.
func (Kernel) Slew(by, next time.Duration) error {
	t := unix.Timex{Modes: unix.ADJ_OFFSET | unix.ADJ_NANO | unix.ADJ_STATUS | unix.ADJ_TIMECONST | unix.ADJ_MAXERROR | unix.ADJ_ESTERROR, Status: unix.STA_PLL}
	long(&t.Offset, int64(by))
	// The loop's time constant is the binary logarithm of the time between two offsets, less 4 (as systemd-timesyncd has it).
	long(&t.Constant, int64(max(bits.Len64(uint64(next/time.Second))-1-4, 0)))
	if _, err := unix.ClockAdjtime(unix.CLOCK_REALTIME, &t); err != nil {
		return fmt.Errorf("slew the clock by %v: %w", by, err)
	}
	return nil
}

// Lose has the kernel say that its clock is not synchronised. How fast it found the crystal to run stays.
func (Kernel) Lose() error {
	t := unix.Timex{Modes: unix.ADJ_STATUS, Status: unix.STA_PLL | unix.STA_UNSYNC}
	if _, err := unix.ClockAdjtime(unix.CLOCK_REALTIME, &t); err != nil {
		return fmt.Errorf("tell the kernel that its clock is not synchronised: %w", err)
	}
	return nil
}

// long sets what C calls a long.
func long[T int32 | int64](p *T, v int64) { *p = T(v) }
