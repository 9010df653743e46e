// Command mkimage builds the flashable image, or writes the lock file of the Debian packages that it is made of.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/mailweir/mailweir/image"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	lock := flag.String("lock", "image/packages.lock", "lock file")
	refresh := flag.Bool("refresh", false, "write the lock file anew, of what the mirror has now, and build nothing")
	fetch := flag.Bool("fetch", false, "only get the packages into the cache")
	cache := flag.String("cache", "", "directory for the .deb files (default $XDG_CACHE_HOME/mailweir-image, or ~/.cache/mailweir-image)")
	mirror := flag.String("mirror", image.Mirror, "of Debian")
	arch := flag.String("arch", "amd64", "amd64 or arm64")
	init := flag.String("init", "", "the mailweir binary for that processor")
	version := flag.String("version", "unknown", "version, for people")
	built := flag.String("built", "", "time of the source, seconds since 1970 (default now, and then no two builds are the same)")
	out := flag.String("out", "", "image file; beside it comes the same with .gz")
	signed := signing()
	flag.Parse()
	if *cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("-cache is needed: %w", err)
		}
		*cache = filepath.Join(dir, "mailweir-image")
	}
	dir, err := filepath.Abs(*cache)
	if err != nil {
		return err
	}
	c := &image.Cache{Dir: dir, Mirror: *mirror}
	if *refresh {
		return write(ctx, c, *lock)
	}
	text, err := os.ReadFile(*lock)
	if err != nil {
		return err
	}
	l, err := image.ParseLock(*lock, text)
	if err != nil {
		return err
	}
	board, ok := image.Boards[*arch]
	if !ok {
		return fmt.Errorf("-arch %s: amd64 or arm64", *arch)
	}
	if *fetch {
		all, err := board.Packages(l)
		if err != nil {
			return err
		}
		return c.Get(ctx, all)
	}
	if *out == "" && *signed.update == "" || *init == "" {
		return errors.New("-init is needed, and -out, -update or both")
	}
	when := time.Now()
	if *built != "" {
		n, err := strconv.ParseInt(*built, 10, 64)
		if err != nil {
			return fmt.Errorf("-built %s: seconds since 1970", *built)
		}
		when = time.Unix(n, 0)
	}
	if err := os.MkdirAll(filepath.Dir(cmp.Or(*out, *signed.update)), 0o755); err != nil {
		return err
	}
	o := image.Options{Board: board, Lock: l, Cache: c, Init: *init, Version: *version, Built: when, Out: *out}
	if err := signed.into(&o); err != nil {
		return err
	}
	r, err := image.Build(ctx, o)
	if err != nil {
		return err
	}
	mb := func(n int64) float64 { return float64(n) / 1e6 }
	fmt.Printf("%s %s for %s, Linux %s with %d modules: kernel %.1f MB, initramfs %.1f MB, slot %.1f MB\n",
		r.About.Product, r.About.Version, r.About.Board, r.About.Kernel, r.Modules, mb(int64(r.Kernel)), mb(int64(r.Initramfs)), mb(int64(r.Slot)))
	if o.Out != "" {
		fmt.Printf("%s  %s  %.1f MB, to be written to a disk\n", r.SHA256, o.Out, mb(r.Image))
		fmt.Printf("%s  %s.gz  %.1f MB, to be downloaded\n", r.DownloadSHA256, o.Out, mb(r.Download))
	}
	if o.Update != "" {
		fmt.Printf("%s  %.1f MB, an update to build %d, signed by key %016X\n", o.Update, mb(r.Update), r.About.Build, o.Secret.ID())
	}
	if len(o.Keys) == 0 {
		fmt.Println("No key is pinned: this image takes no update. -key FILE.pub does that.")
	}
	return nil
}

// write makes the lock file anew and says what is different.
func write(ctx context.Context, c *image.Cache, file string) error {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	was := map[string]string{}
	if text, err := os.ReadFile(file); err == nil {
		old, err := image.ParseLock(file, text)
		if err != nil {
			return err
		}
		for _, p := range old {
			was[p.String()] = p.SHA256
		}
	}
	l, err := c.Refresh(ctx)
	if err != nil {
		return err
	}
	for _, p := range l {
		if was[p.String()] != p.SHA256 {
			fmt.Println("new:", p)
		}
	}
	return os.WriteFile(file, l.Format(), 0o644)
}
