package layout

// About says what an image is; it lies in the initramfs, at AboutFile, and in the slot.
type About struct {
	Product string   `json:"product"`
	Board   string   `json:"board"`           // amd64 or arm64
	Version string   `json:"version"`         // for people
	Build   int64    `json:"build"`           // grows from one to the next: which of two is the newer
	Floor   int64    `json:"floor,omitempty"` // no build below this one is taken after it
	Built   int64    `json:"built"`           // time of the source, seconds since 1970: the earliest that a clock can be right
	Kernel  string   `json:"kernel"`          // as uname -r says
	Keys    []string `json:"keys,omitempty"`  // of minisign, one of which signs the updates that this image takes; none: it takes none
}
