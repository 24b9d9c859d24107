//! The order of a weight's rows in a file, and the one they have here.

/// How the rows of a weight are ordered in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// As here.
    Same,
    /// In each of so many heads, channels that turn together lie side by side (`llama`); here they are
    /// half a head apart.
    Paired { heads: usize },
    /// All queries above all keys above all values (`gptneox`); here each of so many heads has its own
    /// three together.
    Apart { heads: usize },
    /// As `[out, in]` (`gpt2`); here as `[in, out]`. The rows stay as they are, under the other shape.
    Turned,
}

impl Order {
    /// Rows of equally many bytes, `count` of them, in the order they have here.
    pub(super) fn rows(self, bytes: Vec<u8>, count: usize) -> Vec<u8> {
        if matches!(self, Self::Same | Self::Turned) {
            return bytes;
        }
        let size = bytes.len() / count.max(1);
        let mut rows = Vec::with_capacity(bytes.len());
        for row in 0..count {
            let from = self.place_of(row, count) * size;
            rows.extend_from_slice(&bytes[from..from + size]);
        }
        rows
    }

    /// Where in the file the row is that here is number `row` of `count`.
    fn place_of(self, row: usize, count: usize) -> usize {
        match self {
            Self::Same | Self::Turned => row,
            Self::Paired { heads } => {
                let channels = count / heads;
                let (head, channel) = (row / channels, row % channels);
                let half = channels / 2;
                head * channels + 2 * (channel % half) + channel / half
            }
            Self::Apart { heads } => {
                let channels = count / heads / 3;
                let (head, rest) = (row / channels / 3, row % (3 * channels));
                let (part, channel) = (rest / channels, rest % channels);
                (part * heads + head) * channels + channel
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_go_half_a_head_apart() {
        let order = Order::Paired { heads: 2 };
        let rows = order.rows(vec![0, 1, 2, 3, 10, 11, 12, 13], 8);
        assert_eq!(rows, [0, 2, 1, 3, 10, 12, 11, 13]);
        // Of two bytes each.
        let rows = Order::Paired { heads: 1 }.rows((0..8).collect(), 4);
        assert_eq!(rows, [0, 1, 4, 5, 2, 3, 6, 7]);
    }

    #[test]
    fn each_head_gets_its_own_queries_keys_and_values() {
        let order = Order::Apart { heads: 2 };
        // Queries, keys and values of two heads of two channels.
        let rows = order.rows(vec![0, 1, 10, 11, 2, 3, 12, 13, 4, 5, 14, 15], 12);
        assert_eq!(rows, [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15]);
    }
}
