package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/mailweir/mailweir/image"
	"github.com/mailweir/mailweir/image/bundle"
)

// mostKeys: the one of releases, and a spare for the day on which that one is lost.
const mostKeys = 2

// signer are the flags about updates.
type signer struct {
	update, secret *string
	build, floor   *int64
	keys           []string
}

func signing() *signer {
	s := &signer{
		update: flag.String("update", "", "make an update, too: this file, NAME"+bundle.Suffix),
		secret: flag.String("secret", "", "secret key of minisign that signs the update; its password is taken from MAILWEIR_KEY_PASSWORD"),
		build:  flag.Int64("build", 0, "build number, above that of the release before (default: the time of -built)"),
		floor:  flag.Int64("floor", 0, "no build below this one is taken after it"),
	}
	flag.Func("key", "public key of minisign (.pub) whose updates the image takes; twice at most", func(file string) error {
		k, err := bundle.ReadPublicKey(file)
		if err == nil && len(s.keys) == mostKeys {
			err = fmt.Errorf("at most %d keys", mostKeys)
		}
		s.keys = append(s.keys, k)
		return err
	})
	return s
}

// into sets what the flags say.
func (s *signer) into(o *image.Options) (err error) {
	o.Build, o.Floor, o.Keys, o.Update = *s.build, *s.floor, s.keys, *s.update
	if o.Build == 0 {
		o.Build = o.Built.Unix()
	}
	switch {
	case o.Floor > o.Build:
		return fmt.Errorf("-floor %d is above the build number %d", o.Floor, o.Build)
	case o.Update == "":
		return nil
	case *s.secret == "":
		return errors.New("-update needs -secret, the key that signs it; minisign -G makes a pair")
	}
	if o.Secret, err = bundle.ReadSecretKey(*s.secret, os.Getenv("MAILWEIR_KEY_PASSWORD")); err != nil {
		return err
	}
	return nil
}
