package governor

import (
	"fmt"
	"strings"
	"time"
)

// reason says a budget in one line. The per cent are rounded down, so that 100% is never said of less.
func reason(of Kind, value, limit, burst int, window time.Duration) string {
	switch {
	case of == Unknown || burst <= 0:
		return ""
	case window == 0:
		return fmt.Sprintf("%s %d/%d (%d%%)", of, value, burst, percent(value, burst))
	case burst != limit:
		return fmt.Sprintf("%s %d/%d at once, %d per %s (%d%%)", of, value, burst, limit, short(window), percent(value, burst))
	}
	return fmt.Sprintf("%s %d/%d per %s (%d%%)", of, value, limit, short(window), percent(value, burst))
}

func percent(value, burst int) int { return int(int64(value) * 100 / int64(burst)) }

// short writes a duration as the configuration does: 1h, not 1h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
