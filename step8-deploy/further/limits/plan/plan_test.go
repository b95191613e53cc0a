package plan

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step7-auth/identity"
)

func TestRates(t *testing.T) {
	for text, want := range map[string]Rate{
		"none": 0, "64kbit/s": 64_000, "20Mbit/s": 20_000_000, "1.5Mbit/s": 1_500_000, "1Gbit/s": 1e9, "100Gbit/s": 1e11,
		"64000bit/s": 64_000, "0.064Mbit/s": 64_000,
	} {
		got, err := ParseRate(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
		again, err := ParseRate(got.String())
		require.NoError(t, err, got.String())
		require.Equal(t, got, again)
	}
	for _, text := range []string{
		"", "0", "20", "20M", "20Mb", "20Mbit", "20mbit/s", "20MBit/s", "20MB/s", "20Mbps", "20Mb/s", "20Mibit/s", "20 Mbit/s", "-1Mbit/s", "+20Mbit/s",
		"1e3Mbit/s", "0x10Mbit/s", ".5Mbit/s", "5.Mbit/s", "1,5Mbit/s", "63kbit/s", "101Gbit/s", "0Mbit/s", "9999999999999999999Gbit/s", "None", "NaNbit/s", "２Mbit/s",
		"20Mbit/s\n", strings.Repeat("9", 1000) + "bit/s",
	} {
		_, err := ParseRate(text)
		require.ErrorContains(t, err, "kbit/s, Mbit/s or Gbit/s (bits, not bytes; k is 1000)", text)
		require.Less(t, len(err.Error()), 300)
	}
	require.Equal(t, "1.5Mbit/s", Rate(1_500_000).String())
	require.Equal(t, "100kbit/s", Rate(100_000).String())
	require.Equal(t, "64001bit/s", Rate(64_001).String())
}

func TestVolumes(t *testing.T) {
	for text, want := range map[string]Volume{
		"none": 0, "100GB/month": 1e11, "1MB/month": 1e6, "1.5TB/month": 15e11, "1000TB/month": 1e15, "10GiB/month": 10 << 30, "512MiB/month": 512 << 20,
	} {
		got, err := ParseVolume(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
		again, err := ParseVolume(got.String())
		require.NoError(t, err, got.String())
		require.Equal(t, got, again)
	}
	for _, text := range []string{"", "100", "100GB", "100G/month", "100Gb/month", "100gb/month", "100GB/day", "100GB / month", "100Gbit/month", "1kB/month", "1001TB/month", "-1GB/month"} {
		_, err := ParseVolume(text)
		require.ErrorContains(t, err, "in MB, GB, TB (M is 1000*1000) or MiB, GiB, TiB", text)
	}
	require.Equal(t, "100 GB", Volume(1e11).Amount())
	require.Equal(t, "512 MiB", Volume(512<<20).Amount())
}

func TestThen(t *testing.T) {
	slow, err := ParseThen("slow 1Mbit/s")
	require.NoError(t, err)
	require.Equal(t, Rate(1e6), slow)
	slow, err = ParseThen("cut off")
	require.NoError(t, err)
	require.Zero(t, slow)
	for _, text := range []string{"", "cut", "slow", "slow none", "slow ", "slow 0", "stop", "1Mbit/s"} {
		_, err := ParseThen(text)
		require.Error(t, err, text)
	}
}

// FuzzAmounts: whatever is read is within the bounds, and is read back from what is written.
func FuzzAmounts(f *testing.F) {
	for _, s := range []string{"20Mbit/s", "1.5Gbit/s", "none", "100GB/month", "1.000001TiB/month", "64001bit/s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := ParseRate(s); err == nil && r != 0 {
			require.True(t, r >= minRate && r <= maxRate)
			again, err := ParseRate(r.String())
			require.NoError(t, err)
			require.Equal(t, r, again)
		}
		if v, err := ParseVolume(s); err == nil && v != 0 {
			require.True(t, v >= minVolume && v <= maxVolume)
			require.NotEmpty(t, v.Amount())
		}
	})
}

func day(s string) time.Time {
	at, err := time.Parse(time.DateTime, s)
	if err != nil {
		panic(err)
	}
	return at
}

func TestPeriod(t *testing.T) {
	for _, c := range []struct {
		now   string
		day   int
		begin string
		next  string
	}{
		{"2026-11-30 12:00:00", 1, "2026-11-01", "2026-12-01"},
		{"2026-11-30 23:59:59", 1, "2026-11-01", "2026-12-01"},
		{"2026-12-01 00:00:00", 1, "2026-12-01", "2027-01-01"},
		{"2026-01-14 23:59:59", 15, "2025-12-15", "2026-01-15"},
		{"2026-01-15 00:00:00", 15, "2026-01-15", "2026-02-15"},
		{"2028-02-29 10:00:00", 28, "2028-02-28", "2028-03-28"},
		{"2027-03-01 10:00:00", 28, "2027-02-28", "2027-03-28"},
		{"2026-12-31 10:00:00", 28, "2026-12-28", "2027-01-28"},
	} {
		require.Equal(t, c.begin, Begin(day(c.now), c.day).Format(time.DateOnly), "begin of the period of %s, day %d", c.now, c.day)
		require.Equal(t, c.next, Next(day(c.now), c.day).Format(time.DateOnly), "next period after %s, day %d", c.now, c.day)
	}
	west := time.FixedZone("west", -5*3600)
	require.Equal(t, "2026-12-01", Begin(time.Date(2026, 11, 30, 20, 0, 0, 0, west), 1).Format(time.DateOnly), "days are those of UTC")
	east := time.FixedZone("east", 9*3600)
	require.Equal(t, "2026-11-01", Begin(time.Date(2026, 12, 1, 8, 0, 0, 0, east), 1).Format(time.DateOnly), "days are those of UTC")
}

func TestUsage(t *testing.T) {
	u := Usage{Begin(day("2026-11-10 10:00:00"), 1), 700}
	require.EqualValues(t, 700, u.At(day("2026-11-30 23:59:59"), 1).Bytes, "the last second of the period")
	require.EqualValues(t, 0, u.At(day("2026-12-01 00:00:00"), 1).Bytes, "the first second of the next one")
	require.EqualValues(t, 0, u.At(day("2027-12-01 00:00:00"), 1).Bytes, "a year later")

	// A clock that is set back takes nothing away, and the next period comes in its time.
	back := u.At(day("2026-10-20 10:00:00"), 1)
	require.EqualValues(t, 700, back.Bytes, "what is used, on a clock that was set back")
	require.EqualValues(t, 0, back.At(day("2026-11-01 00:00:00"), 1).Bytes, "the next period by that clock")
	// A clock that was years ahead for a moment.
	ahead := u.At(day("2033-05-05 10:00:00"), 1)
	ahead.Bytes = 50
	now := ahead.At(day("2026-11-11 10:00:00"), 1)
	require.EqualValues(t, 50, now.Bytes)
	require.EqualValues(t, 0, now.At(day("2026-12-01 00:00:00"), 1).Bytes, "the next period, after a clock that was years ahead")

	// Another day in the settings does not begin a period unless one begins.
	require.EqualValues(t, 700, u.At(day("2026-11-10 10:00:00"), 20).Bytes, "another day, which is later")
	require.EqualValues(t, 0, u.At(day("2026-11-10 10:00:00"), 5).Bytes, "another day, which has passed")
}

// A client's line has precedence over the settings, each option for itself.
func TestOf(t *testing.T) {
	const key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
	line := func(options string) (*identity.Client, error) {
		r, err := identity.Parse("clients", "alice "+key+" "+options+"\n")
		if err != nil {
			return nil, err
		}
		c, _ := r.ByName("alice")
		return c, nil
	}
	of := func(options string) Plan {
		c, err := line(options)
		require.NoError(t, err)
		return Plan{Down: 20e6, Up: 5e6, Quota: 1e11, Day: 3, Slow: 1e6}.Of(c)
	}
	require.Equal(t, Plan{20e6, 5e6, 1e11, 3, 1e6}, of(""))
	require.Equal(t, Plan{1e9, 5e6, 1e11, 3, 1e6}, of("down=1Gbit/s"))
	require.Equal(t, Plan{0, 64e3, 5e9, 3, 1e6}, of("up=64kbit/s quota=5GB/month down=none"))
	_, err := line("down=20M")
	require.ErrorContains(t, err, `clients:1: down=: it is "20M", which is not clear: a rate is none, or 64kbit/s to 100Gbit/s`)
	_, err = line("speed=20Mbit/s")
	require.ErrorContains(t, err, `"speed" is not an option: those are addr=, expires=, psk=, password=, down=, quota= and up=`)
	_, err = line("up=none up=none")
	require.ErrorContains(t, err, "twice")
}

func TestSentences(t *testing.T) {
	now := day("2026-11-30 12:00:00")
	off := Plan{Quota: 1e11, Day: 1}.UsedUp(now)
	require.Equal(t, "your quota of 100 GB for this month is used up; it begins anew on 1 December", off.Reason)
	require.True(t, off.Final)
	slow := Plan{Quota: 1e11, Day: 1, Slow: 1e6}.UsedUp(now)
	require.Equal(t, "your quota of 100 GB for this month is used up: you are slowed down to 1Mbit/s until it begins anew on 1 December", slow.Reason)
	require.False(t, slow.Final)
}
