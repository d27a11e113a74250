package static

import (
	"time"

	"limpet/internal/ngx"
)

// pixel is a transparent GIF image of one pixel: header, screen of 1x1 with a
// palette of two colours, the transparency of the second, and one LZW code of it.
const pixel = "GIF89a\x01\x00\x01\x00\x80\x01\x00\x00\x00\x00\xff\xff\xff" +
	"!\xf9\x04\x01\x00\x00\x01\x00" + ",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02L\x01\x00;"

// pixelTime is nginx's time of the pixel's last change.
const pixelTime = 23349600

func addEmptyGIF(b *ngx.Build, s *ngx.Scope) error {
	if confOf(s).EmptyGIF.V && confOf(s).EmptyGIF.Own {
		s.Handler = emptyGIF
	}
	return nil
}

// emptyGIF answers with the pixel.
func emptyGIF(r *ngx.Request) ngx.Outcome {
	if string(r.Method) != "GET" && string(r.Method) != "HEAD" {
		return ngx.Status(405)
	}
	o := &r.Out
	o.Status, o.ContentType, o.Length = 200, []byte("image/gif"), int64(len(pixel))
	o.LastModified = time.Unix(pixelTime, 0)
	if r.SendHead() != nil || r.Write([]byte(pixel)) != nil {
		return ngx.Close
	}
	return finish(r)
}
