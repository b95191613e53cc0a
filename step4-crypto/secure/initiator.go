package secure

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"stepvpn/shared/app"
	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
)
