//! The sizes of a picture on its way.

use super::Resize;

/// The sizes of a picture on its way: scaled to one, stored at the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) scaled: (u32, u32),
    pub(super) stored: (u32, u32),
}

impl Layout {
    pub(super) fn new(resize: Resize, side_px: u32, width: u32, height: u32) -> Self {
        let (short, long) = (width.min(height), width.max(height));
        let limiting = match resize {
            Resize::None => 0,
            Resize::KeepRatio | Resize::CenterCrop => short,
            Resize::Fit | Resize::Border => long,
        };
        let scaled = if side_px == 0 || limiting <= side_px {
            (width, height)
        } else {
            let scale = |side: u32| {
                let scaled = (u64::from(side) * u64::from(side_px) + u64::from(limiting) / 2)
                    / u64::from(limiting);
                u32::try_from(scaled).unwrap_or(u32::MAX).max(1)
            };
            (scale(width), scale(height))
        };
        let stored = match resize {
            Resize::CenterCrop => {
                let side = scaled.0.min(scaled.1);
                (side, side)
            }
            Resize::Border if side_px > 0 => (side_px, side_px),
            _ => scaled,
        };
        Self { scaled, stored }
    }

    /// Cuts or surrounds scaled pixels so that they have the stored size.
    pub(super) fn place(self, pixels: Vec<u8>) -> Vec<u8> {
        if self.scaled == self.stored {
            return pixels;
        }
        let sides = |(width, height): (u32, u32)| (width as usize, height as usize);
        let (from_width, from_height) = sides(self.scaled);
        let (to_width, to_height) = sides(self.stored);
        let mut placed = vec![u8::MAX; 3 * to_width * to_height];
        let (columns, rows) = (from_width.min(to_width), from_height.min(to_height));
        for row in 0..rows {
            let from_row = (from_height - rows) / 2 + row;
            let to_row = (to_height - rows) / 2 + row;
            let from = 3 * (from_row * from_width + (from_width - columns) / 2);
            let to = 3 * (to_row * to_width + (to_width - columns) / 2);
            placed[to..to + 3 * columns].copy_from_slice(&pixels[from..from + 3 * columns]);
        }
        placed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_resize_has_its_sizes() {
        let sizes = |resize, side_px, width, height| {
            let layout = Layout::new(resize, side_px, width, height);
            (layout.scaled, layout.stored)
        };
        let same = |size| (size, size);
        assert_eq!(sizes(Resize::KeepRatio, 50, 200, 100), same((100, 50)));
        assert_eq!(sizes(Resize::Fit, 50, 200, 100), same((50, 25)));
        let cropped = ((100, 50), (50, 50));
        assert_eq!(sizes(Resize::CenterCrop, 50, 200, 100), cropped);
        let bordered = ((50, 25), (50, 50));
        assert_eq!(sizes(Resize::Border, 50, 200, 100), bordered);
        assert_eq!(sizes(Resize::None, 50, 200, 100), same((200, 100)));
        // Nothing is scaled up.
        assert_eq!(sizes(Resize::KeepRatio, 300, 200, 100), same((200, 100)));
        let small = ((200, 100), (100, 100));
        assert_eq!(sizes(Resize::CenterCrop, 300, 200, 100), small);
    }

    #[test]
    fn a_border_is_white_and_a_crop_takes_the_middle() {
        let layout = |scaled, stored| Layout { scaled, stored };
        let row = [1, 1, 1, 2, 2, 2, 3, 3, 3].to_vec();
        let cut = layout((3, 1), (1, 1)).place(row.clone());
        assert_eq!(cut, [2, 2, 2]);
        let surrounded = layout((3, 1), (3, 3)).place(row.clone());
        assert_eq!(surrounded[..9], [255; 9]);
        assert_eq!(surrounded[9..18], row);
    }
}
