// Package cabling is what process 1 of the image, who governs and the console tell each other of the box's Ethernet ports: which network card is which port, and
// the shape of the ports between subscribers and internet that is tried. It is in memory, so that a start begins without it.
package cabling

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/mailweir/mailweir/appliance/durable"
)

// Dir is the directory in memory where it is.
type Dir string

// Cards are the box's ports as process 1 found them at its start: one that is plugged in or pulled out later gives no other its work.
type Cards struct {
	Names   []string          `json:"names"`   // port1, port2, ...: also those that are missing
	Missing []string          `json:"missing"` // had a card at the last start and have none now
	MACs    map[string]string `json:"macs"`    // permanent hardware address of each, of who is missing the one that it had; none: it is not known
	Other   []Other           `json:"other"`   // have another card than at the last start
	Strange bool              `json:"strange"` // none of the cards was here at the last start: the disk is in another machine
	Unknown bool              `json:"unknown"` // an older version ran at the last start, which kept no hardware addresses
}

// Other is a port with another card than before.
type Other struct {
	Port string `json:"port"`
	Was  string `json:"was"` // hardware addresses
	Is   string `json:"is"`
}

// Lacks tells whether a port of the box is missing.
func (c Cards) Lacks(port string) bool { return slices.Contains(c.Missing, port) }

// UnknownText is no fault: it says what happens once after an update.
const UnknownText = "the version that ran before kept no hardware addresses: the ports are numbered in the order of the machine's buses, and from now on each card stays the port that it is"

// Text says what of the cards is not as it was, a sentence each.
func (c Cards) Text() (all []string) {
	switch {
	case c.Strange:
		all = append(all, "none of the network cards was here at the last start, so the ports are numbered anew, in the order of the machine's buses")
	case c.Unknown:
		all = append(all, UnknownText)
	}
	for _, o := range c.Other {
		all = append(all, fmt.Sprintf("%s has another network card than before: it was %s and is %s", o.Port, o.Was, o.Is))
	}
	for _, m := range c.Missing {
		all = append(all, MissingText(m, c.MACs[m]))
	}
	return all
}

// MissingText says that a port is missing; mac may be "".
func MissingText(port, mac string) string {
	if mac == "" {
		return port + " is missing: the box has no network card for it"
	}
	return port + " is missing: its network card " + mac + " was not found"
}

func (d Dir) cardsFile() string { return filepath.Join(string(d), "ports.json") }

// Cards is what process 1 found; nil: this is not the image.
func (d Dir) Cards() (*Cards, error) { return load[Cards](d.cardsFile()) }

// SaveCards is for process 1.
func (d Dir) SaveCards(c Cards) error { return d.save(d.cardsFile(), c) }

func (d Dir) save(file string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return err
	}
	return durable.Replace(file, text)
}

func load[T any](file string) (*T, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v := new(T)
	if err := json.Unmarshal(text, v); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return v, nil
}
