// Command mkipk puts the binaries of `make cross` into packages for OpenWrt.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/mailweir/mailweir/image/openwrt"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "mkipk:", err)
		os.Exit(1)
	}
}

func run() error {
	bin := flag.String("bin", "bin", "where the binaries are: mailweir-arm, ...")
	out := flag.String("out", "out", "directory for the packages")
	built := flag.Int64("built", 0, "time of the source, seconds since 1970 (required); also the version, which rises with it: 0.SECONDS-r1")
	flag.Parse()
	if flag.NArg() > 0 || *built <= 0 {
		return errors.New("-built SECONDS is needed, and no argument is taken")
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	for _, arch := range openwrt.Arches {
		file := filepath.Join(*bin, "mailweir-"+arch.Binary)
		binary, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("%w; `make cross` builds it", err)
		}
		p, err := openwrt.New(binary, fmt.Sprintf("0.%d-r1", *built), arch, time.Unix(*built, 0).UTC())
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := write(filepath.Join(*out, p.FileName()), p); err != nil {
			return err
		}
	}
	return nil
}

func write(path string, p *openwrt.Package) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	if err := errors.Join(p.Write(f), f.Close()); err != nil {
		return err
	}
	s, err := os.Stat(path)
	if err == nil {
		fmt.Printf("%s %.1f MB\n", path, float64(s.Size())/1e6)
	}
	return err
}
