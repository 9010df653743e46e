package layout

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// EnvSize is fixed: GRUB writes its environment block in place (grub-core/lib/envblk.c).
const EnvSize = 1024

const (
	envHead = "# GRUB Environment Block\n"
	// envText bounds the variables, so that all that says something is in one sector: a power cut leaves the old sector or the new one.
	envText = 512
	// EnvTries is how often a slot on trial is started; grub.cfg counts down from it. The start after these is of the slot before: the third.
	EnvTries = 2
)

// Env is GRUB's environment block (grubenv): which slot is started. grub.cfg reads and writes it, too.
type Env struct {
	Active string // the slot that is known to work, a or b
	Next   string // one on trial; "": none is
	Tries  int    // how many starts of Next are left; GRUB takes one off before each
	Failed string // one that was given up, until somebody has seen it
}

// ParseEnv reads a block. One that GRUB would not take is an error.
func ParseEnv(b []byte) (e Env, err error) {
	if len(b) != EnvSize || !bytes.HasPrefix(b, []byte(envHead)) {
		return e, fmt.Errorf("no environment block of GRUB: %d bytes that begin %.25q", len(b), b)
	}
	for line := range strings.Lines(string(b[len(envHead):])) {
		if strings.HasPrefix(line, "#") {
			break
		}
		k, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch k {
		case "active":
			e.Active = v
		case "next":
			e.Next = v
		case "failed":
			e.Failed = v
		case "tries":
			if v == "" {
				continue // GRUB leaves the name behind when it takes the value away
			}
			if e.Tries, err = strconv.Atoi(v); err != nil || e.Tries < 0 || e.Tries > EnvTries {
				return e, fmt.Errorf("tries %q in GRUB's environment block: 0 to %d", v, EnvTries)
			}
		}
	}
	for _, s := range []string{e.Active, e.Next, e.Failed} {
		if s != "" && !slices.Contains(Slots, s) {
			return e, fmt.Errorf("slot %q in GRUB's environment block: %s", s, strings.Join(Slots, " or "))
		}
	}
	return e, nil
}

// Block is the file that GRUB reads.
func (e Env) Block() []byte {
	var s strings.Builder
	s.WriteString(envHead)
	set := func(k, v string) {
		if v != "" {
			fmt.Fprintf(&s, "%s=%s\n", k, v)
		}
	}
	set("active", e.Active)
	if e.Next != "" {
		set("next", e.Next)
		set("tries", strconv.Itoa(e.Tries))
	}
	set("failed", e.Failed)
	if s.Len() > envText {
		panic("layout: GRUB's variables are longer than a sector")
	}
	return []byte(s.String() + strings.Repeat("#", EnvSize-s.Len()))
}
