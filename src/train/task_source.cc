#include "train/task_source.h"

#include <algorithm>

#include "base/hash.h"
#include "base/rng.h"
#include "tasks/filler.h"
#include "tasks/task.h"

namespace nosa::train {
namespace {

class TaskSource final : public SequenceSource {
 public:
  TaskSource(std::shared_ptr<const TokenText> text, const TaskOptions& options, std::unique_ptr<tasks::Task> task,
             tasks::Filler learnt, std::optional<tasks::Filler> held_out)
      : text_(std::move(text)),
        options_(options),
        task_(std::move(task)),
        learnt_(std::move(learnt)),
        held_out_(std::move(held_out)) {}

  std::string_view name() const override { return options_.name; }

  uint64_t fingerprint() const override {
    StreamHash hash;
    const auto add = [&hash](const auto& value) { hash.Update(AsBytes(std::span(&value, 1))); };
    hash.Update(AsBytes(std::span(options_.name.data(), options_.name.size())));
    add(options_.seed);
    add(options_.questions);
    add(options_.weights);
    add(text_->fingerprint);
    add(text_->learn);
    return hash.Digest();
  }

  Status Check(int length) const override {
    const Result<tasks::Example> example = Make(learnt_, length, 0);
    return example.ok() ? Status::Ok() : example.status().WithContext("the task " + options_.name);
  }

  Status Fill(uint64_t number, const Row& row) const override { return FillFrom(learnt_, number, row); }
  Status FillHeldOut(uint64_t number, const Row& row) const override {
    const bool enough = held_out_ && held_out_->tokens() > static_cast<int64_t>(row.ids.size());
    return FillFrom(enough ? *held_out_ : learnt_, number | uint64_t{1} << 63, row);
  }

 private:
  Result<tasks::Example> Make(const tasks::Filler& filler, int length, uint64_t number) const {
    const auto words = Philox(options_.seed, number).Block(0);
    tasks::ExampleOptions example;
    example.tokens = length + 1;
    example.seed = uint64_t{words[0]} << 32 | words[1];
    // As many questions as the sequence has room for, halving: half of a document may be planted.
    for (example.questions = std::min(options_.questions, task_->max_questions());; example.questions /= 2) {
      Result<tasks::Example> made = task_->Make(filler, example);
      if (made.ok() || example.questions <= 1) return made;
    }
  }

  Status FillFrom(const tasks::Filler& filler, uint64_t number, const Row& row) const {
    NOSA_ASSIGN_OR_RETURN(const tasks::Example example, Make(filler, static_cast<int>(row.ids.size()), number));
    const tasks::TrainingRow made = tasks::LayOut(example, options_.weights);
    NOSA_CHECK(made.ids.size() == row.ids.size() + 1, "an example of {} tokens for {}", made.ids.size(),
               row.ids.size() + 1);
    for (size_t t = 0; t < row.ids.size(); ++t) {
      row.ids[t] = made.ids[t];
      row.targets[t] = made.ids[t + 1];
      row.weights[t] = made.weight[t];
      row.answers[t] = made.answer[t];
    }
    return Status::Ok();
  }

  std::shared_ptr<const TokenText> text_;
  TaskOptions options_;
  std::unique_ptr<tasks::Task> task_;
  tasks::Filler learnt_;
  std::optional<tasks::Filler> held_out_;
};

}  // namespace

Result<std::unique_ptr<const SequenceSource>> MakeTaskSource(std::shared_ptr<const text::Tokenizer> tokenizer,
                                                             std::shared_ptr<const TokenText> text,
                                                             const TaskOptions& options) {
  NOSA_ASSIGN_OR_RETURN(std::unique_ptr<tasks::Task> task, tasks::MakeTask(options.name));
  NOSA_ASSIGN_OR_RETURN(tasks::Filler learnt, tasks::Filler::Make(tokenizer, text->learnt()));
  std::optional<tasks::Filler> held_out;
  if (!text->held_out().empty()) {
    Result<tasks::Filler> made = tasks::Filler::Make(tokenizer, text->held_out());
    if (made.ok()) held_out = std::move(made).value();
  }
  return std::unique_ptr<const SequenceSource>(
      std::make_unique<TaskSource>(std::move(text), options, std::move(task), std::move(learnt), std::move(held_out)));
}

}  // namespace nosa::train
