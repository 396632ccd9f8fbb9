// One thread's part in a pass over the rows: some rows at a time against all groups.
#pragma once

#include "pruning.hpp"

namespace fastface {

// What all threads share.
struct PrunedPass {
  Matrix rows;             // some of all there are
  std::int64_t first_row;  // number of the first of them
  Matrix centers;          // in the order of the groups
  const std::int32_t* names;
  const std::int32_t* places;
  const Screen& screen;
  const GroupPanels& panels;
  const CenterMoves& moves;
  const Lifts& lifts;
  PrunedRows& state;
  std::int32_t* labels;
  bool anew;  // nothing is known of the rows
};

class PrunedBlock {
 public:
  PrunedBlock(const PrunedPass& pass, Interrupt& interrupt);

  static std::int64_t rows_of_a_block(const GroupPanels& panels);

  PruningStatistics operator()(std::int64_t number);

 private:
  void load(std::int64_t count);
  void forget(std::int64_t count);
  void notice_new_labels(std::int64_t count);
  void follow_centers(std::int64_t count);
  void face_own_centers(std::int64_t count);
  void score_wanted(std::int64_t count);

  template <typename TakeIn>
  void score(std::int64_t group, const std::uint16_t* rows, std::int32_t n_rows,
             const TakeIn& take_in);

  void leave_out_own(std::int64_t row, std::int64_t group, const float* scores, float error);
  void count_again(std::int64_t row, float upper);

  double key(std::int64_t row, std::int64_t center);
  void face_own(std::int64_t row);
  void decide(std::int64_t row, std::int64_t center);

  const void* operand(std::int64_t row) const;
  float* uppers(std::int64_t row) const;
  std::int64_t group_of(std::int32_t place) const { return place / kernels_.group_width; }
  RowRecord& record(std::int64_t row) const;
  char& is_exact(std::int64_t row) const;
  const LoadedRow& loaded(std::int64_t row) const;
  std::int32_t& left_out(std::int64_t row) const;
  std::int32_t& label(std::int64_t row) const { return pass_.labels[first_ + row]; }

  const PrunedPass& pass_;
  const KernelTable& kernels_;
  Interrupt& interrupt_;
  Definition definition_;
  RowReader read_row_;
  RowReader read_center_;
  bool integers_;
  bool keeps_rows_;
  std::int64_t stride_;     // bytes of an operand
  Aligned<char> operands_;  // of this block, unless they are kept
  std::vector<float> values_;
  std::vector<std::int8_t> rounded_;
  std::int64_t first_ = 0;             // row of the block, among those of the pass
  std::vector<double> keys_;           // distances to the own center; NaN where not known
  std::vector<char> needs_;            // whether a row has to look at any group
  std::vector<std::uint16_t> wanted_;  // [groups][rows]
  std::vector<std::int32_t> n_wanted_;
  PruningStatistics statistics_;
};

}  // namespace fastface
