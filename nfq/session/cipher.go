package session

// framing is what a cipher suite adds to the plaintext of a record (RFC 5246, section 6.2.3; RFC 8446, section 5.2).
type framing struct {
	add   uint8 // bytes that every record has beside its plaintext
	block uint8 // the rest is filled up to a multiple of it; 0: it is not
}

// Version numbers of TLS.
const (
	tls11 = 0x0302
	tls12 = 0x0303
	tls13 = 0x0304
)

// framingOf is the framing of a cipher suite. One that is not known is taken for AES-GCM.
func framingOf(version, suite uint16) framing {
	switch {
	case version >= tls13:
		if suite == 0x1305 { // TLS_AES_128_CCM_8_SHA256
			return framing{add: 1 + 8}
		}
		return framing{add: 1 + 16}
	case chaCha(suite):
		return framing{add: 16}
	case ccm8(suite):
		return framing{add: 8 + 8}
	}
	mac, block := macOf(suite)
	switch {
	case mac == 0: // AES-GCM, ARIA-GCM, Camellia-GCM, AES-CCM: explicit nonce and tag
		return framing{add: 8 + 16}
	case block == 0: // RC4, NULL
		return framing{add: mac}
	}
	f := framing{add: mac, block: block}
	if version >= tls11 {
		f.add += block // the IV
	}
	return f // with the MAC behind the blocks (RFC 7366) it is the same sum
}

func chaCha(s uint16) bool { return s >= 0xcca8 && s <= 0xccae }

func ccm8(s uint16) bool {
	return s >= 0xc0a0 && s <= 0xc0a3 || s >= 0xc0a8 && s <= 0xc0ab || s == 0xc0ae || s == 0xc0af
}

// macOf gives length of MAC and cipher block of a suite that is no AEAD, zeros for the others.
func macOf(s uint16) (mac, block uint8) {
	const sha1, sha256, sha384 = 20, 32, 48
	switch {
	case s == 0x0004 || s == 0x0018:
		return 16, 0 // RC4 with MD5
	case s == 0x0002 || s == 0x0005 || s == 0xc002 || s == 0xc007 || s == 0xc00c || s == 0xc011 || s == 0xc016:
		return sha1, 0
	case s == 0x000a || s == 0x000d || s == 0x0010 || s == 0x0013 || s == 0x0016 || s == 0x001b:
		return sha1, 8 // 3DES
	case s == 0xc003 || s == 0xc008 || s == 0xc00d || s == 0xc012 || s == 0xc017:
		return sha1, 8
	case s >= 0x002f && s <= 0x003a: // AES, SHA-1
		return sha1, 16
	case s >= 0x003c && s <= 0x0040, s >= 0x0067 && s <= 0x006d: // AES, SHA-256
		return sha256, 16
	case s >= 0x0041 && s <= 0x0046, s >= 0x0084 && s <= 0x0089, s >= 0x0096 && s <= 0x009b: // Camellia, SEED
		return sha1, 16
	case s >= 0x00ba && s <= 0x00c5: // Camellia, SHA-256
		return sha256, 16
	case s >= 0xc001 && s <= 0xc019: // ECDHE, ECDH with AES, SHA-1
		return sha1, 16
	case s == 0xc023 || s == 0xc025 || s == 0xc027 || s == 0xc029:
		return sha256, 16
	case s == 0xc024 || s == 0xc026 || s == 0xc028 || s == 0xc02a:
		return sha384, 16
	case s >= 0xc072 && s <= 0xc079: // Camellia: even SHA-256, odd SHA-384
		if s%2 == 0 {
			return sha256, 16
		}
		return sha384, 16
	}
	return 0, 0
}

// plain is how many bytes of plaintext a record body of n bytes can hold, at least and at most.
func (f framing) plain(n int) (least, most int) {
	most = n - int(f.add)
	if f.block == 0 {
		return max(most, 0), max(most, 0)
	}
	return max(most-int(f.block), 0), max(most-1, 0) // padding is one byte to a whole block
}
