package identity

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// A PasswordHash is what the registry stores of a password: enough to check a password,
// while trying passwords one by one is the only way to find it. It does not change.
//
// Its text is a PHC string, as other programs write it, too:
//
//	$argon2id$v=19$m=65536,t=3,p=4$SALT$KEY
//
// m is the memory in KiB, t the number of passes over it, p the number of lanes
// (RFC 9106, section 3.1). SALT and KEY are base64 without padding.
type PasswordHash struct {
	cost cost
	salt []byte
	key  []byte
}

// A cost is the work that one attempt to guess a password takes.
type cost struct {
	memory uint32 // KiB
	passes uint32
	lanes  uint8
}

// defaultCost is the second recommended option of RFC 9106, section 4.
var defaultCost = cost{memory: 64 << 10, passes: 3, lanes: 4}

// Limits on a hash. Without them, a mistake in the registry could take down the server:
// it would use too much memory or time for each password.
const (
	maxMemory        = 256 << 10 // KiB
	maxPasses        = 10
	maxLanes         = 16
	minSalt, maxSalt = 8, 64  // bytes
	minKey, maxKey   = 16, 64 // bytes
	maxHashText      = 256    // bytes
	defaultSalt      = 16     // bytes: RFC 9106, section 4
	defaultKey       = 32     // bytes: the same
	minMemoryOfLane  = 8      // KiB: RFC 9106, section 3.1
)

// ParsePasswordHash reads a PHC string. It returns an error if the string is malformed
// or its cost is beyond the limits.
func ParsePasswordHash(s string) (*PasswordHash, error) {
	h, ok := parsePHC(s)
	if !ok {
		return nil, errors.New("the password is not a hash such as $argon2id$v=19$m=65536,t=3,p=4$SALT$KEY: use 'clients passwd'")
	}
	c := h.cost
	if c.lanes < 1 || c.lanes > maxLanes || c.passes < 1 || c.passes > maxPasses ||
		c.memory < minMemoryOfLane*uint32(c.lanes) || c.memory > maxMemory {
		return nil, fmt.Errorf("a password hash with m=%d,t=%d,p=%d: allowed are m from 8·p to %d, t up to %d, and p up to %d",
			c.memory, c.passes, c.lanes, maxMemory, maxPasses, maxLanes)
	}
	if n := len(h.salt); n < minSalt || n > maxSalt {
		return nil, fmt.Errorf("a password hash with a salt of %d bytes: %d to %d are allowed", n, minSalt, maxSalt)
	}
	if n := len(h.key); n < minKey || n > maxKey {
		return nil, fmt.Errorf("a password hash with a key of %d bytes: %d to %d are allowed", n, minKey, maxKey)
	}
	return h, nil
}

// parsePHC takes a PHC string apart. It accepts just one spelling of each hash: the text
// that String returns.
func parsePHC(s string) (*PasswordHash, bool) {
	if len(s) > maxHashText {
		return nil, false
	}
	parts := strings.Split(s, "$")
	if len(parts) != 6 {
		return nil, false
	}
	numbers := strings.Split(parts[3], ",")
	if len(numbers) != 3 {
		return nil, false
	}
	var values [3]uint64
	for i, name := range []string{"m=", "t=", "p="} {
		v, err := strconv.ParseUint(strings.TrimPrefix(numbers[i], name), 10, []int{32, 32, 8}[i])
		if err != nil {
			return nil, false
		}
		values[i] = v
	}
	h := &PasswordHash{cost: cost{uint32(values[0]), uint32(values[1]), uint8(values[2])}}
	var err1, err2 error
	h.salt, err1 = base64.RawStdEncoding.DecodeString(parts[4])
	h.key, err2 = base64.RawStdEncoding.DecodeString(parts[5])
	return h, err1 == nil && err2 == nil && h.String() == s
}

// String returns the PHC string.
func (h *PasswordHash) String() string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		h.cost.memory, h.cost.passes, h.cost.lanes, b64(h.salt), b64(h.key))
}
