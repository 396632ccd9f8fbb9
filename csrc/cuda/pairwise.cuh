// What the two halves of pairwise agree on.
#pragma once

// A float that no distance is: marks entries that the definition has to fill in.
constexpr int kDoubtfulBits = 0x7fc0face;
