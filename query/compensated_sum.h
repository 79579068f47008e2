// A sum of doubles that keeps what rounding takes from it (Neumaier 1974).
#pragma once

#include <cmath>

namespace tenon {

class CompensatedSum {
 public:
  void add(double term) noexcept {
    const double sum = sum_ + term;
    const double lost = std::abs(sum_) >= std::abs(term) ? (sum_ - sum) + term : (term - sum) + sum_;
    if (std::isfinite(lost)) rest_ += lost;  // of infinities nothing is lost
    sum_ = sum;
  }
  void add(const CompensatedSum& other, double times = 1) noexcept {
    add(other.sum_ * times);
    add(other.rest_ * times);
  }
  double value() const noexcept { return sum_ + rest_; }

 private:
  double sum_ = 0;
  double rest_ = 0;
};

}  // namespace tenon
