package authbasic

// This is crypt(3)'s traditional form: DES (FIPS PUB 46-3) of a block of zeros,
// 25 times, with a salt of 12 bits that swaps outputs of the expansion E.
// Blocks are slices of bits, the first one the most significant, numbered from 1 in the tables as in the standard.

// cryptAlphabet are the digits of salts and hashes.
const cryptAlphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// desCrypt returns the hash of a password with the salt of a stored one; false
// when that isn't in this form.
func desCrypt(password []byte, stored string) (string, bool) {
	if len(stored) != 13 {
		return "", false
	}
	salt := 0
	for i := range len(stored) {
		v := cryptValue(stored[i])
		if v < 0 {
			return "", false
		}
		if i < 2 {
			salt |= v << (6 * i)
		}
	}
	var key [64]byte
	for i := 0; i < len(password) && i < 8; i++ {
		for j := range 7 {
			key[8*i+j] = password[i] >> (6 - j) & 1
		}
	}
	keys := desKeys(&key)
	var block [66]byte // two bits more make eleven digits
	for range 25 {
		desBlock((*[64]byte)(block[:]), &keys, salt)
	}
	hash := []byte(stored[:2])
	for i := range 11 {
		v := 0
		for _, bit := range block[6*i : 6*i+6] {
			v = v<<1 | int(bit)
		}
		hash = append(hash, cryptAlphabet[v])
	}
	return string(hash), true
}

func cryptValue(c byte) int {
	for i := range len(cryptAlphabet) {
		if cryptAlphabet[i] == c {
			return i
		}
	}
	return -1
}

// permute picks bits of src by a table.
func permute(dst, src []byte, table []byte) {
	for i, from := range table {
		dst[i] = src[from-1]
	}
}

// desKeys returns the sixteen keys of a key with parity bits.
func desKeys(key *[64]byte) (keys [16][48]byte) {
	var cd [56]byte
	permute(cd[:], key[:], []byte(desPC1))
	for round := range keys {
		shift := 2
		switch round {
		case 0, 1, 8, 15:
			shift = 1
		}
		rotate(cd[:28], shift)
		rotate(cd[28:], shift)
		permute(keys[round][:], cd[:], []byte(desPC2))
	}
	return keys
}

func rotate(half []byte, n int) {
	var head [2]byte
	copy(head[:], half[:n])
	copy(half, half[n:])
	copy(half[len(half)-n:], head[:n])
}

// desBlock enciphers a block in place.
func desBlock(block *[64]byte, keys *[16][48]byte, salt int) {
	var lr [64]byte
	permute(lr[:], block[:], []byte(desIP))
	left, right := lr[:32], lr[32:]
	for round := range keys {
		f := desRound(right, &keys[round], salt)
		for i := range left {
			left[i] ^= f[i]
		}
		left, right = right, left
	}
	var last [64]byte
	copy(last[:], right)
	copy(last[32:], left)
	for i, to := range []byte(desIP) {
		block[to-1] = last[i]
	}
}

// desRound is the cipher function f of the standard.
func desRound(right []byte, key *[48]byte, salt int) (out [32]byte) {
	var e [48]byte
	for i := range e {
		e[i] = right[(i/6*4+i%6+31)%32]
	}
	for i := range 12 {
		if salt>>i&1 != 0 {
			e[i], e[i+24] = e[i+24], e[i]
		}
	}
	var s [32]byte
	for box := range 8 {
		var in [6]byte
		for i := range in {
			in[i] = e[6*box+i] ^ key[6*box+i]
		}
		row, col := in[0]<<1|in[5], in[1]<<3|in[2]<<2|in[3]<<1|in[4]
		digit := desS[64*box+16*int(row)+int(col)]
		v := digit - '0'
		if digit >= 'a' {
			v = digit - 'a' + 10
		}
		for i := range 4 {
			s[4*box+i] = v >> (3 - i) & 1
		}
	}
	permute(out[:], s[:], []byte(desP))
	return out
}

// The standard's tables.
const (
	desIP = "\x3a\x32\x2a\x22\x1a\x12\x0a\x02\x3c\x34\x2c\x24\x1c\x14\x0c\x04\x3e\x36\x2e\x26\x1e\x16\x0e\x06\x40\x38\x30\x28\x20\x18\x10\x08" +
		"\x39\x31\x29\x21\x19\x11\x09\x01\x3b\x33\x2b\x23\x1b\x13\x0b\x03\x3d\x35\x2d\x25\x1d\x15\x0d\x05\x3f\x37\x2f\x27\x1f\x17\x0f\x07"
	desP   = "\x10\x07\x14\x15\x1d\x0c\x1c\x11\x01\x0f\x17\x1a\x05\x12\x1f\x0a\x02\x08\x18\x0e\x20\x1b\x03\x09\x13\x0d\x1e\x06\x16\x0b\x04\x19"
	desPC1 = "\x39\x31\x29\x21\x19\x11\x09\x01\x3a\x32\x2a\x22\x1a\x12\x0a\x02\x3b\x33\x2b\x23\x1b\x13\x0b\x03\x3c\x34\x2c\x24" +
		"\x3f\x37\x2f\x27\x1f\x17\x0f\x07\x3e\x36\x2e\x26\x1e\x16\x0e\x06\x3d\x35\x2d\x25\x1d\x15\x0d\x05\x1c\x14\x0c\x04"
	desPC2 = "\x0e\x11\x0b\x18\x01\x05\x03\x1c\x0f\x06\x15\x0a\x17\x13\x0c\x04\x1a\x08\x10\x07\x1b\x14\x0d\x02" +
		"\x29\x34\x1f\x25\x2f\x37\x1e\x28\x33\x2d\x21\x30\x2c\x31\x27\x38\x22\x35\x2e\x2a\x32\x24\x1d\x20"
	// The selection functions, each of four rows of sixteen hexadecimal digits.
	desS = "e4d12fb83a6c5907" + "0f74e2d1a6cb9538" + "41e8d62bfc973a50" + "fc8249175b3ea06d" +
		"f18e6b34972dc05a" + "3d47f28ec01a69b5" + "0e7ba4d158c6932f" + "d8a13f42b67c05e9" +
		"a09e63f51dc7b428" + "d709346a285ecbf1" + "d6498f30b12c5ae7" + "1ad069874fe3b52c" +
		"7de3069a1285bc4f" + "d8b56f03472c1ae9" + "a690cb7df13e5284" + "3f06a1d8945bc72e" +
		"2c417ab6853fd0e9" + "eb2c47d150fa3986" + "421bad78f9c5630e" + "b8c71e2d6f09a453" +
		"c1af92680d34e75b" + "af427c9561de0b38" + "9ef528c3704a1db6" + "432c95fabe17608d" +
		"4b2ef08d3c975a61" + "d0b7491ae35c2f86" + "14bdc37eaf680592" + "6bd814a7950fe23c" +
		"d2846fb1a93e50c7" + "1fd8a374c56b0e92" + "7b419ce206adf358" + "21e74a8dfc90356b"
)
