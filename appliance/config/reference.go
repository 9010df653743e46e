package config

import _ "embed"

// Reference is a commented file with every key at its default.
//
//go:embed reference.yaml
var Reference []byte
