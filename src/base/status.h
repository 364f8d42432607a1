// Errors as values. A Status is for what a user, a file, memory or a device can cause; a bug is
// a NOSA_CHECK (base/check.h). No exception crosses a room.
#pragma once

#include <fmt/core.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/check.h"

namespace nosa {

enum class StatusCode {
  kOk,
  kInvalidArgument,     // the caller's input is wrong, whatever the state of the program
  kNotFound,            // a named file, tensor or entry does not exist
  kFailedPrecondition,  // right input, wrong moment or wrong machine
  kResourceExhausted,   // a budget, a disk or a limit is too small; the message says what would do
  kDataLoss,            // stored bytes are damaged
  kIo,                  // the operating system refused a read or a write
  kUnimplemented,       // valid, but this build or model family cannot do it
  kCancelled,
  kUnavailable,       // right input and right machine, but not now: full, limited or closing
  kDeadlineExceeded,  // the time that was given for it is over
  kInternal,
};

std::string_view StatusCodeName(StatusCode code);

// Cheap to return when ok (one null pointer). Copyable, thread-safe to read.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message);

  static Status Ok() { return Status(); }

  bool ok() const { return rep_ == nullptr; }
  StatusCode code() const { return rep_ ? rep_->code : StatusCode::kOk; }
  // One sentence with both sides of a mismatch; empty when ok.
  std::string_view message() const { return rep_ ? std::string_view(rep_->message) : ""; }
  // "data loss: block 3 of ..." for logs; "ok" when ok.
  std::string ToString() const;

  // Same code, "context: message". Keeps ok as ok.
  Status WithContext(std::string_view context) const;

 private:
  struct Rep {
    StatusCode code;
    std::string message;
  };
  std::shared_ptr<const Rep> rep_;
};

#define NOSA_STATUS_FACTORY(Name, code)                                    \
  template <typename... Args>                                              \
  Status Name(fmt::format_string<Args...> format, Args&&... args) {        \
    return Status(code, fmt::format(format, std::forward<Args>(args)...)); \
  }
NOSA_STATUS_FACTORY(InvalidArgument, StatusCode::kInvalidArgument)
NOSA_STATUS_FACTORY(NotFound, StatusCode::kNotFound)
NOSA_STATUS_FACTORY(FailedPrecondition, StatusCode::kFailedPrecondition)
NOSA_STATUS_FACTORY(ResourceExhausted, StatusCode::kResourceExhausted)
NOSA_STATUS_FACTORY(DataLoss, StatusCode::kDataLoss)
NOSA_STATUS_FACTORY(IoError, StatusCode::kIo)
NOSA_STATUS_FACTORY(Unimplemented, StatusCode::kUnimplemented)
NOSA_STATUS_FACTORY(Cancelled, StatusCode::kCancelled)
NOSA_STATUS_FACTORY(Unavailable, StatusCode::kUnavailable)
NOSA_STATUS_FACTORY(DeadlineExceeded, StatusCode::kDeadlineExceeded)
NOSA_STATUS_FACTORY(Internal, StatusCode::kInternal)
#undef NOSA_STATUS_FACTORY

// A T or the reason there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}         // NOLINT: implicit on purpose
  Result(Status status) : status_(std::move(status)) {  // NOLINT: implicit on purpose
    NOSA_CHECK(!status_.ok(), "a Result without a value needs an error");
  }

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }

  T& value() & {
    NOSA_CHECK(ok(), "{}", status_.ToString());
    return *value_;
  }
  const T& value() const& {
    NOSA_CHECK(ok(), "{}", status_.ToString());
    return *value_;
  }
  T&& value() && {
    NOSA_CHECK(ok(), "{}", status_.ToString());
    return std::move(*value_);
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace nosa

#define NOSA_RETURN_IF_ERROR(expr)               \
  do {                                           \
    ::nosa::Status nosa_status_ = (expr);        \
    if (!nosa_status_.ok()) return nosa_status_; \
  } while (false)

#define NOSA_CONCAT_INNER_(a, b) a##b
#define NOSA_CONCAT_(a, b) NOSA_CONCAT_INNER_(a, b)
// NOSA_ASSIGN_OR_RETURN(auto x, Compute()): x = the value, or return the error.
#define NOSA_ASSIGN_OR_RETURN(lhs, expr) NOSA_ASSIGN_OR_RETURN_IMPL_(NOSA_CONCAT_(nosa_result_, __LINE__), lhs, expr)
#define NOSA_ASSIGN_OR_RETURN_IMPL_(tmp, lhs, expr) \
  auto tmp = (expr);                                \
  if (!tmp.ok()) return tmp.status();               \
  lhs = std::move(tmp).value()
