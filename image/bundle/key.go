package bundle

import (
	"bytes"
	"fmt"
	"os"

	"aead.dev/minisign"
)

// ReadPublicKey reads a minisign .pub file, and returns the key as About has it.
func ReadPublicKey(file string) (string, error) {
	k, err := minisign.PublicKeyFromFile(file)
	if err != nil {
		return "", fmt.Errorf("public key %s: %w", file, err)
	}
	return k.String(), nil
}

// ReadSecretKey reads a secret key of minisign: one that minisign -G makes, with a password, or minisign -G -W, without.
func ReadSecretKey(file, password string) (k minisign.PrivateKey, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return k, err
	}
	if minisign.IsEncrypted(text) {
		if k, err = minisign.DecryptKey(password, text); err != nil {
			return k, fmt.Errorf("secret key %s: %w", file, err)
		}
		return k, nil
	}
	if err := k.UnmarshalText(bytes.TrimSpace(text)); err != nil {
		return k, fmt.Errorf("secret key %s: %w", file, err)
	}
	return k, nil
}
